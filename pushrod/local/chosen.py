"""Which workflow of a repository, and which of its steps, are run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches

from pipelines_schema import (
    Parsed,
    Problem,
    Step,
    Workflow,
    expanded_steps,
    transitive_dependencies,
)
from pushrod.local.errors import CannotRun
from pushrod.presentation import printable, problem_line

MOST_NAMED = 10
ALL = "all"
"""Of the steps that wait for an approval."""


def choose_workflow(files: Mapping[str, Parsed], wanted: str | None) -> tuple[str, Workflow]:
    """The file and the workflow, by its name, its file's path or the last part of that; without a
    word the only one, else that of `.pushrod.yml`. `files` are by path. Raises CannotRun."""
    if not files:
        raise CannotRun(
            "no workflow here: write one to .pushrod.yml (and see that .gitignore does not name it)"
        )
    path = _only_path(files) if wanted is None else _path_named(files, wanted)
    parsed = files[path]
    if parsed.workflow is None:
        raise CannotRun(
            "\n".join(
                ["the workflow has mistakes"]
                + [problem_line(problem.to_json()) for problem in parsed.problems]
            )
        )
    return path, parsed.workflow


def _only_path(files: Mapping[str, Parsed]) -> str:
    if len(files) == 1:
        return next(iter(files))
    single = [path for path in files if "/" not in path]
    if len(single) == 1:
        return single[0]
    raise CannotRun(f"which workflow? name one of {_listed(_called(files))}")


def _path_named(files: Mapping[str, Parsed], wanted: str) -> str:
    found = [path for path in files if wanted in _words_for(path, files[path])]
    if len(found) == 1:
        return found[0]
    if found:
        raise CannotRun(f"{len(found)} workflows are called {wanted!r}: name one's file")
    raise CannotRun(f"no workflow {printable(wanted)!r}{_instead(wanted, _called(files))}")


def _words_for(path: str, parsed: Parsed) -> set[str]:
    last = path.rpartition("/")[2]
    named = {parsed.workflow.name} if parsed.workflow else set()
    return {path, last, last.rpartition(".")[0], *named}


def _called(files: Mapping[str, Parsed]) -> list[str]:
    return [one.workflow.name if one.workflow else path for path, one in files.items()]


def only_chosen(workflow: Workflow, names: Sequence[str], matrix: Mapping[str, str]) -> Workflow:
    """The workflow with its combinations as steps: those of the `matrix` values; where `names` are
    given, only these steps, by the names of all combinations or of one, and what they depend on.

    Nobody is notified of it, and it waits for no label. Raises CannotRun.
    """
    steps = _of_matrix(expanded_steps(workflow.steps), matrix)
    if names:
        steps = _with_dependencies(steps, [one for name in names for one in _named(steps, name)])
    return replace(workflow, steps=tuple(steps), notify=())


def _of_matrix(steps: Sequence[Step], matrix: Mapping[str, str]) -> list[Step]:
    for key, value in matrix.items():
        values = {step.matrix_values[key] for step in steps if key in step.matrix_values}
        if not values:
            keys = list(dict.fromkeys(key for step in steps for key in step.matrix_values))
            raise CannotRun(f"no step's matrix has {printable(key)!r}{_instead(key, keys)}")
        if value not in values:
            told = _instead(value, sorted(values))
            raise CannotRun(f"the matrix has no {printable(f'{key}={value}')!r}{told}")
    return _among(
        [
            step
            for step in steps
            if all(step.matrix_values.get(key, value) == value for key, value in matrix.items())
        ]
    )


def _named(steps: Sequence[Step], wanted: str) -> list[str]:
    found = [step.name for step in steps if wanted in (step.name, step.matrix_of)]
    if found:
        return found
    known = list(dict.fromkeys(step.matrix_of or step.name for step in steps))
    raise CannotRun(f"no step {printable(wanted)!r}{_instead(wanted, known)}")


def _with_dependencies(steps: Sequence[Step], names: Sequence[str]) -> list[Step]:
    kept = {*names, *(one for name in names for one in transitive_dependencies(steps, name))}
    return _among([step for step in steps if step.name in kept])


def _among(steps: list[Step]) -> list[Step]:
    """Nobody waits for a step that is left out."""
    names = {step.name for step in steps}
    return [
        replace(step, depends_on=tuple(one for one in step.depends_on if one in names))
        for step in steps
    ]


def missing_secrets(workflow: Workflow, secrets: Mapping[str, str]) -> list[str]:
    """Lines on the secrets that steps name and nobody gave."""
    wanted: dict[str, Step] = {}
    for step in workflow.steps:
        for name in step.secrets:
            wanted.setdefault(name, step)
    lines = []
    for name, step in wanted.items():
        if name not in secrets:
            place = step.secret_places.get(name)
            problem = Problem(
                message=f"step `{step.name}` needs the secret {name}: write {name}=… into a file "
                "and name it by --secrets-file",
                file=(place.file if place else None) or workflow.file,
                line=place.line if place else None,
                column=place.column if place else None,
            )
            lines.append(problem_line(problem.to_json()))
    return lines


def check_gates(workflow: Workflow, approved: Sequence[str]) -> None:
    """Each is a step that asks for an approval, or `all`; steps that are generated meanwhile are
    not known yet. Raises CannotRun."""
    gates = [step.name for step in workflow.steps if step.approve is not None]
    if any(step.generates is not None for step in workflow.steps):
        return
    for name in approved:
        if name != ALL and name not in gates:
            told = _instead(name, gates) or ": no step asks for one"
            raise CannotRun(f"no step {printable(name)!r} waits for an approval{told}")


def _instead(word: str, known: Sequence[str]) -> str:
    near = get_close_matches(word, known, n=3, cutoff=0.6)
    if near:
        return f": did you mean {_listed(near)}?"
    return f"; there is {_listed(known)}" if known else ""


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(printable(name) for name in names[:MOST_NAMED]) + more
