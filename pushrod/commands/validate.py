"""`pushrod validate`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from pipelines_schema.parse import parse_workflow
from pipelines_schema.problem import Problem
from pushrod.errors import CommandError, describe_os_error
from pushrod.presentation import print_json, problem_line, say

SINGLE_FILES = (".pushrod.yml", ".pushrod.yaml")
FOLDER = ".pushrod"
ENDINGS = (".yml", ".yaml")


@click.command()
@click.argument("paths", nargs=-1, metavar="[PATH]…", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def validate(paths: tuple[Path, ...], as_json: bool) -> None:
    """Check workflow files (default: .pushrod.yml and .pushrod/*.yml); exit code 1 on problems.

    Every problem is told as file:line:column. A folder stands for the repository in it.
    """
    files = [file for path in paths or (Path(),) for file in workflow_files(path)]
    problems = [problem for file in files for problem in check_file(file)]
    if as_json:
        print_json(
            {
                "valid": not problems,
                "files": [str(file) for file in files],
                "problems": [problem.to_json() for problem in problems],
            }
        )
    else:
        _show(files, problems)
    if problems:
        raise click.exceptions.Exit(1)


def workflow_files(path: Path) -> list[Path]:
    """The workflow files that a path names. Raises CommandError where there is none."""
    if not path.is_dir():
        return [path]
    folder = path if path.name == FOLDER else path / FOLDER
    single = [path / name for name in SINGLE_FILES]
    several = sorted(folder.iterdir()) if folder.is_dir() else []
    found = [file for file in single if file.is_file()]
    found += [file for file in several if file.suffix in ENDINGS and file.is_file()]
    if not found:
        raise CommandError(f"no workflow in {path.absolute()}: write one to .pushrod.yml")
    return found


def check_file(file: Path) -> Sequence[Problem]:
    """What is wrong with one file. Raises CommandError if it can't be read."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise CommandError(f"{file} can't be read: {describe_os_error(error)}") from error
    return parse_workflow(content, str(file)).problems


def _show(files: Sequence[Path], problems: Sequence[Problem]) -> None:
    for problem in problems:
        click.echo(problem_line(problem.to_json()))
    broken = {problem.file for problem in problems}
    for file in files:
        if str(file) not in broken:
            say(f"{file}: ok")
    if problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        say(f"{count} in {len(broken)} of {len(files)} files" if len(files) > 1 else count)
