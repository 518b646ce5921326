"""`pushrod validate`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

import click

from coordinator.ports import Readings, WorkflowFile
from coordinator.reading.processes import ReadingProcesses
from coordinator.services.parsing import named_paths, parsed_modules, parsed_workflow
from pipelines_schema import Include, IncludedFile, Parsed
from pipelines_schema.limits import MAX_INCLUDED_BYTES
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
    of modules, .pushrod/modules.yml, is checked against the workflows beside it. Of what a
    workflow includes, the files of its repository are read as they are here; those of other
    projects are named as unchecked.
    """
    files = asyncio.run(_checked_as_pushed(paths or (Path(),)))
    problems = list(dict.fromkeys(problem for one in files for problem in one.problems))
    if as_json:
        print_json(
            {
                "valid": not problems,
                "files": [str(one.file) for one in files],
                "problems": [problem.to_json() for problem in problems],
                "unchecked": [str(include) for one in files for include in one.unchecked],
            }
        )
    else:
        _show(files, problems)
    if problems:
        raise click.exceptions.Exit(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    file: Path
    problems: Sequence[Problem] = ()
    unchecked: Sequence[Include] = ()
    """Files of other projects, which are not looked up."""


async def _checked_as_pushed(paths: Sequence[Path]) -> list[Checked]:
    """As the coordinator would, within its limits."""
    async with ReadingProcesses() as readings:
        return await _checked(readings, paths)


async def _checked(readings: Readings, paths: Sequence[Path]) -> list[Checked]:
    """The files, with what is wrong with them: one that can't be read hides no other's mistakes.

    Raises CommandError where the only path has nothing to check.
    """
    checked: list[Checked] = []
    for path in paths:
        try:
            found = workflow_files(path)
        except CommandError as error:
            if len(paths) == 1:
                raise
            problem = Problem(message=error.message, file=str(path))
            checked.append(Checked(file=path, problems=[problem]))
            continue
        checked += [await _check_file(readings, file) for file in found]
    return checked


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


async def _check_file(readings: Readings, file: Path) -> Checked:
    """What is wrong with one file, also that it can't be read."""
    try:
        content = _content(file, str(file))
        beside = _workflows_beside(file) if _declares_modules(file) else None
    except OSError as error:
        message = f"can't be read: {describe_os_error(error)}"
        problem = Problem(message=message, file=str(error.filename or file))
        return Checked(file=file, problems=[problem])
    if beside is None:
        root = repository_of(file)
        parsed, unchecked = await _parsed(readings, root, content)
        problems = [_where_it_lies(problem, root, file) for problem in parsed.problems]
        return Checked(file=file, problems=problems, unchecked=unchecked)
    workflows = {
        one.path: (await _parsed(readings, _root(file), one))[0].workflow for one in beside
    }
    paths = await named_paths(readings, NOBODY, content, workflows)
    folders = _folders_among(_root(file), paths)
    parsed_file = await parsed_modules(readings, NOBODY, content, workflows, folders)
    return Checked(file=file, problems=parsed_file.problems)


async def _parsed(
    readings: Readings, root: Path, file: WorkflowFile
) -> tuple[Parsed, Sequence[Include]]:
    """With those of the included files that can't be known here."""
    parsed = await parsed_workflow(readings, NOBODY, file)
    if not parsed.includes:
        return parsed, ()
    own = [one for one in parsed.includes if one.project is None]
    unchecked = [one for one in parsed.includes if one.project is not None]
    included = {one: _included(root, one) for one in own}
    return await parsed_workflow(readings, NOBODY, file, included), unchecked


def _included(root: Path, one: Include) -> IncludedFile:
    """As it would be at a commit of all that is here."""
    path = root / one.file
    links = [part for part in (path, *path.parents) if root in part.parents and part.is_symlink()]
    if links or not path.is_file():
        return IncludedFile(fault=one.not_there)
    try:
        with path.open("rb") as file:
            return IncludedFile(content=file.read(MAX_INCLUDED_BYTES + 1))
    except OSError as error:
        return IncludedFile(fault=f"{one.file} can't be read: {describe_os_error(error)}")


def _where_it_lies(problem: Problem, root: Path, checked: Path) -> Problem:
    """Named as the checked file was: a mistake may stand in a file that it includes."""
    if problem.file in (None, str(checked)):
        return problem
    included = root / (problem.file or "")
    path = included if checked.is_absolute() else Path(os.path.relpath(included))
    return replace(problem, file=str(path))


def repository_of(file: Path) -> Path:
    """The root that included files are named from: as the file's name tells, or git's."""
    folder = file.absolute().parent
    if folder.name == FOLDER:
        return folder.parent
    if file.name in SINGLE_FILES:
        return folder
    return next((one for one in (folder, *folder.parents) if (one / ".git").exists()), folder)


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


def _show(files: Sequence[Checked], problems: Sequence[Problem]) -> None:
    for problem in problems:
        click.echo(problem_line(problem.to_json()))
    for one in files:
        if not one.problems:
            say(f"{one.file}: ok")
        for include in one.unchecked:
            where = f":{include.place.line}:{include.place.column}" if include.place else ""
            say(f"{one.file}{where}: unchecked, as it lies in another project: {include}")
    if problems:
        broken = [one for one in files if one.problems]
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        say(f"{count} in {len(broken)} of {len(files)} files" if len(files) > 1 else count)
