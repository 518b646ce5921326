"""`pushrod validate`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path, PurePath

import click

from coordinator.ports import Readings, WorkflowFile
from coordinator.reading.processes import ReadingProcesses
from coordinator.services.parsing import named_paths, parsed_modules, parsed_workflow
from pipelines_schema.modules import MODULE_FILES
from pipelines_schema.problem import Problem
from pushrod.errors import CommandError, describe_os_error
from pushrod.presentation import print_json, problem_line, say

SINGLE_FILES = (".pushrod.yml", ".pushrod.yaml")
FOLDER = ".pushrod"
ENDINGS = (".yml", ".yaml")
NOBODY = ""
"""Whose turn it is to have something read."""


@click.command()
@click.argument("paths", nargs=-1, metavar="[PATH]…", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def validate(paths: tuple[Path, ...], as_json: bool) -> None:
    """Check workflow files (default: .pushrod.yml and .pushrod/*.yml); exit code 1 on problems.

    Every problem is told as file:line:column. A folder stands for the repository in it. The file
    of modules, .pushrod/modules.yml, is checked against the workflows beside it.
    """
    files, problems = asyncio.run(_checked_as_pushed(paths or (Path(),)))
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


async def _checked_as_pushed(paths: Sequence[Path]) -> tuple[list[Path], list[Problem]]:
    """As the coordinator would, within its limits."""
    async with ReadingProcesses() as readings:
        return await _checked(readings, paths)


async def _checked(readings: Readings, paths: Sequence[Path]) -> tuple[list[Path], list[Problem]]:
    """The files, and what is wrong with them: one that can't be read hides no other's mistakes.

    Raises CommandError where the only path has nothing to check.
    """
    files: list[Path] = []
    problems: list[Problem] = []
    for path in paths:
        try:
            found = workflow_files(path)
        except CommandError as error:
            if len(paths) == 1:
                raise
            files.append(path)
            problems.append(Problem(message=error.message, file=str(path)))
            continue
        files += found
        for file in found:
            problems += await _check_file(readings, file)
    return files, problems


def workflow_files(path: Path) -> list[Path]:
    """The files that a path names, that of modules too. Raises CommandError where there is none."""
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


async def _check_file(readings: Readings, file: Path) -> Sequence[Problem]:
    """What is wrong with one file, also that it can't be read."""
    try:
        content = _content(file, str(file))
        beside = _workflows_beside(file) if _declares_modules(file) else None
    except OSError as error:
        message = f"can't be read: {describe_os_error(error)}"
        return [Problem(message=message, file=str(error.filename or file))]
    if beside is None:
        return (await parsed_workflow(readings, NOBODY, content)).problems
    workflows = {
        one.path: (await parsed_workflow(readings, NOBODY, one)).workflow for one in beside
    }
    paths = await named_paths(readings, NOBODY, content, workflows)
    folders = _folders_among(_root(file), paths)
    return (await parsed_modules(readings, NOBODY, content, workflows, folders)).problems


def _content(file: Path, called: str) -> WorkflowFile:
    return WorkflowFile(path=called, content=file.read_bytes())


def _workflows_beside(file: Path) -> list[WorkflowFile]:
    """Of the repository whose modules the file declares."""
    root = _root(file)
    return [
        _content(one, str(PurePath(one.absolute().relative_to(root))))
        for one in workflow_files(root)
        if not _declares_modules(one)
    ]


def _root(file: Path) -> Path:
    return file.absolute().parent.parent


def _folders_among(root: Path, paths: Sequence[str]) -> frozenset[str]:
    return frozenset(path for path in paths if (root / path).is_dir())


def _declares_modules(file: Path) -> bool:
    return "/".join(file.absolute().parts[-2:]) in MODULE_FILES


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
