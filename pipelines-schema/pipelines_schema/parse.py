"""The doors of the workflow language: a file's bytes, and the API's JSON. All are pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pipelines_schema.compose import FASTEST_LOADER, compose
from pipelines_schema.conditions import Watch, unwatched
from pipelines_schema.fields import Reading
from pipelines_schema.includes import Include, Included
from pipelines_schema.json_nodes import JsonComposer
from pipelines_schema.limits import MAX_PROBLEMS
from pipelines_schema.modules import Module
from pipelines_schema.older_steps import Generator
from pipelines_schema.problem import NotComposed, Problem, ProblemList, TooManyProblems
from pipelines_schema.read_generated import GENERATED_WORDING, read_generated
from pipelines_schema.read_modules import MODULES_WORDING, KnownWorkflows, Repository, read_modules
from pipelines_schema.read_workflow import Includes, read_api_workflow, read_workflow
from pipelines_schema.workflow import Workflow


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """Either a workflow, or the problems for which there is none, or files to look up first."""

    workflow: Workflow | None
    problems: tuple[Problem, ...]
    includes: tuple[Include, ...] = ()
    """Not empty: it is to be read again, with these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedModules:
    """The modules of a file; none where there are problems."""

    modules: tuple[Module, ...]
    problems: tuple[Problem, ...]


def parse_workflow(
    content: bytes, file: str, watch: Watch = unwatched, included: Included | None = None
) -> Parsed:
    """Read a workflow file; `file` is its path in the repository. Raises nothing, on any bytes.

    A workflow that includes files, and is read without `included`, is answered with their names.
    """
    problems = ProblemList(file)

    def read() -> Workflow | Includes:
        document = compose(content, problems)
        reading = Reading(problems, document.lines, watch=watch)
        return read_workflow(reading, document.root, file, included)

    cut = Problem(message=_CUT, file=file, line=1, column=1)
    found, listed = _read(read, problems, cut)
    # With some of it unread, problems would be found once more, and perhaps others.
    if isinstance(found, Includes):
        return Parsed(workflow=None, problems=(), includes=found.files)
    return Parsed(workflow=found, problems=listed)


def workflow_from_json(
    name: str, steps: Sequence[Mapping[str, Any]], watch: Watch = unwatched
) -> Parsed:
    """Check a workflow that came as decoded JSON, by the rules that files are checked by."""
    problems = ProblemList(None)
    composer = JsonComposer(problems)

    def read() -> Workflow:
        return read_api_workflow(
            Reading(problems, is_json=True, watch=watch),
            composer.node(name, "name"),
            composer.node(steps, "steps"),
        )

    found, listed = _read(read, problems, Problem(message=_CUT, path="steps"))
    return Parsed(workflow=found, problems=listed)


def parse_generated(
    content: bytes, file: str, generator: Generator, watch: Watch = unwatched
) -> Parsed:
    """Read a file that a step has generated, as a workflow of the steps to add to the generator's
    build. Raises nothing, on any bytes."""
    problems = ProblemList(file)

    def read() -> Workflow:
        document = compose(content, problems, FASTEST_LOADER, GENERATED_WORDING)
        reading = Reading(problems, document.lines, watch=watch)
        return read_generated(reading, document.root, file, generator)

    found, listed = _read(read, problems, Problem(message=_CUT, file=file, line=1, column=1))
    return Parsed(workflow=found, problems=listed)


def parse_modules(
    content: bytes,
    file: str,
    workflows: Mapping[str, Workflow | None],
    is_folder: Callable[[str], bool],
) -> ParsedModules:
    """Read the file of modules. Raises nothing, on any bytes.

    `workflows` are those beside it by file, None for one with mistakes; `is_folder` is asked about
    each module's path.
    """
    problems = ProblemList(file)

    def read() -> tuple[Module, ...]:
        document = compose(content, problems, FASTEST_LOADER, MODULES_WORDING)
        reading = Reading(problems, document.lines)
        known = Repository(KnownWorkflows(workflows), is_folder)
        return read_modules(reading, document.root, known)

    found, listed = _read(read, problems, Problem(message=_CUT, file=file, line=1, column=1))
    return ParsedModules(modules=found or (), problems=listed)


_CUT = f"there are more than {MAX_PROBLEMS} problems: only the first are listed"
_Found = TypeVar("_Found")


def _read(
    read: Callable[[], _Found], problems: ProblemList, cut: Problem
) -> tuple[_Found | None, tuple[Problem, ...]]:
    """What was read, or the problems for which it is worth nothing."""
    try:
        found = read()
    except NotComposed:
        return None, problems.in_order()
    except TooManyProblems:
        return None, (*problems.in_order(), cut)
    return (None, problems.in_order()) if problems else (found, ())
