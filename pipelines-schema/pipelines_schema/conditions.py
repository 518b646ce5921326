"""`when`: whether a step runs, as an expression in CEL (Common Expression Language).

Evaluating one never fails silently: it is True, False or a fault. CEL's loops, its macros, are
refused. Cheap it is not: a regular expression in `matches` costs a second within our limits of
length, and the library lets no other thread run meanwhile. Who evaluates what outsiders wrote does
so in a process that can be ended, with a `Watch` that is told which one it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pipelines_schema.cel_macros import first_macro, unfolds_a_macro
from pipelines_schema.cel_outputs import (
    OUTPUTS,
    NoOutputName,
    OutputName,
    outputs_named,
    values_named,
)
from pipelines_schema.changed_files import (
    FUNCTION,
    Changes,
    NotWrittenOut,
    with_changes_answered,
)
from pipelines_schema.problem import Place, shown
from pipelines_schema.stored_json import without_absent
from pipelines_schema.suggestions import closest

if TYPE_CHECKING:
    from cel import Program

CONDITION_VARIABLES = (
    *("event", "branch", "tag", "ref", "message", "author", "labels", "draft"),
    *("params", "matrix", "env", OUTPUTS),
)
EVENTS = ("push", "pullRequest", "tag", "manual", "schedule", "build")
_EXAMPLE = 'write a comparison such as `event == "push" && branch.startsWith("release/")`'
_LIST_HINT = 'write `"x" in labels`, or compare one by one'
_FUNCTIONS = (FUNCTION, "startsWith", "endsWith", "contains", "matches", "size")
_PLACE = re.compile(r"<input>:(\d+):(\d+)")

Watch = Callable[[Place], AbstractContextManager[None]]
"""Entered for each condition that is evaluated, with the place where it stands."""


def unwatched(place: Place) -> AbstractContextManager[None]:
    """For expressions of one's own."""
    return nullcontext()


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    expression: str
    line: int = 0
    column: int = 0
    """Where it stands in the workflow's file, for faults that only a build brings up."""
    file: str | None = None
    """The included file that it stands in instead."""
    outputs: tuple[OutputName, ...] = ()
    """What it asks of other steps: with any, it is evaluated once these have ended."""

    def to_json(self) -> dict[str, Any]:
        """For storage; `from_json` reads it back."""
        return without_absent(
            expression=self.expression,
            line=self.line,
            column=self.column,
            file=self.file,
            outputs=[[one.step, one.key] for one in self.outputs] or None,
        )

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Condition:
        outputs = tuple(OutputName(step, key) for step, key in value.get("outputs", ()))
        return cls(**{**value, "outputs": outputs})


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What a condition can ask about; what a build does not have is empty text."""

    event: str
    branch: str = ""
    tag: str = ""
    message: str = ""
    author: str = ""
    ref: str = ""
    """The full name, `refs/heads/main`."""
    labels: Sequence[str] = ()
    draft: bool = False
    changed: Collection[str] | None = None
    """The files that differ, for `changed(…)`; None where there is nothing to compare with."""
    params: Mapping[str, str]
    matrix: Mapping[str, str]
    env: Mapping[str, str] = field(default_factory=dict)
    """What the workflow and the step set themselves."""
    outputs: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Of each step and key that the condition names."""

    def values(self) -> dict[str, Any]:
        return {
            "event": self.event,
            "branch": self.branch,
            "tag": self.tag,
            "message": self.message,
            "author": self.author,
            "ref": self.ref,
            "labels": list(self.labels),
            "draft": self.draft,
            "params": dict(self.params),
            "matrix": nested(self.matrix),
            "env": dict(self.env),
            OUTPUTS: {step: dict(values) for step, values in self.outputs.items()},
        }


def nested(values: Mapping[str, str]) -> dict[str, Any]:
    """`platform.os` as `os` of `platform`."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        outer, _, inner = name.partition(".")
        if not inner:
            found[name] = value
        elif isinstance(known := found.setdefault(outer, {}), dict):
            known[inner] = value
    return found


class ConditionFault(Exception):
    """The expression has no truth value; the message says why.

    `line` and `column` are within the expression, from 1, where that is known.
    """

    def __init__(self, message: str, line: int | None = None, column: int | None = None) -> None:
        super().__init__(message)
        self.line, self.column = line, column


def holds(expression: str, circumstances: Circumstances) -> bool:
    """Raises ConditionFault."""
    value = _evaluated(compiled(expression), circumstances)
    if isinstance(value, bool):
        return value
    raise ConditionFault(f"is neither true nor false, but {_kind(value)}: {_EXAMPLE}")


def check(
    expression: str,
    params: Mapping[str, str],
    matrix: Mapping[str, str],
    env: Mapping[str, str],
) -> None:
    """Find what can be known before there is a build. Raises ConditionFault.

    `params` and `matrix` have an example of each value that builds will have, `env` its own.
    """
    check_words(expression)
    outputs = values_named(outputs_of(expression), {})
    for event in EVENTS:
        asked = Circumstances(event=event, params=params, matrix=matrix, env=env, outputs=outputs)
        try:
            holds(expression, asked)
        except ConditionFault as fault:
            # A conversion such as int(branch) may well succeed with a build's own values.
            if not isinstance(fault.__cause__, ValueError | ArithmeticError | IndexError):
                raise


def check_words(expression: str) -> None:
    """Find what can be known even without the matrix. Raises ConditionFault."""
    for name in compiled(expression).variables():
        if name not in CONDITION_VARIABLES:
            raise ConditionFault(_no_variable(name))
    outputs_of(expression)


def outputs_of(expression: str) -> tuple[OutputName, ...]:
    """What it asks of other steps. Raises ConditionFault."""
    try:
        named = outputs_named(expression)
        if named:
            with_changes_answered(expression, ())
        return named
    except (NoOutputName, NotWrittenOut) as error:
        before = expression[: error.offset]
        line, column = before.count("\n") + 1, error.offset - before.rfind("\n")
        raise ConditionFault(str(error), line, column) from None


@lru_cache(maxsize=1000)
def compiled(expression: str) -> Program:
    """Raises ConditionFault."""
    import cel  # 2 MB that only workflows with conditions need

    macro = first_macro(expression)
    if macro is not None:
        raise ConditionFault(f"can't use `{macro}(…)`: no list is gone through; {_LIST_HINT}")
    try:
        program = cel.compile(expression)
    except ValueError as error:
        place = _PLACE.search(str(error).replace(expression, ""))
        line, column = (int(place[1]), int(place[2]) + 1) if place else (None, None)
        raise ConditionFault(f"is no CEL from here on: {_EXAMPLE}", line, column) from error
    if unfolds_a_macro(program.functions()):
        raise ConditionFault(f"can't go through lists: {_LIST_HINT}")
    return program


def _evaluated(program: Program, circumstances: Circumstances) -> Any:
    import cel  # as above

    changes = Changes(circumstances.changed)
    context = cel.Context(circumstances.values())
    context.add_function(FUNCTION, changes)
    try:
        value = program.execute(context)
        if changes.fault is None:
            return value
    except KeyError as error:
        raise ConditionFault(f"asks for {shown(_key(error))}, which there is not") from error
    except TypeError as error:
        raise ConditionFault(
            "compares or joins values of different kinds: all is text but `labels`, a list of it, "
            "`draft`, true or false, and `params`, `matrix`, `env` and `outputs`, whose values are "
            'text: write `"3"`, not `3`'
        ) from error
    except (ValueError, ArithmeticError, IndexError) as error:
        raise ConditionFault(f"can't be worked out: {_sentence(error)}") from error
    except RuntimeError as error:
        unknown = re.search(r"Undefined variable or function: '([^']*)'", str(error))
        if unknown is None:
            raise ConditionFault(f"can't be worked out: {_sentence(error)}") from ValueError(error)
        raise ConditionFault(_no_function(unknown[1])) from error
    raise ConditionFault(changes.fault)


def _no_variable(name: str) -> str:
    near = closest(name, CONDITION_VARIABLES)
    if near is not None:
        return f"names {shown(name)}: did you mean `{near}`?"
    listed = ", ".join(f"`{known}`" for known in CONDITION_VARIABLES)
    return f"names {shown(name)}, which there is not: there are {listed}; put text in quotes"


def _no_function(name: str) -> str:
    near = closest(name, _FUNCTIONS)
    if near in (None, name):  # one that is there, but of something else
        return f"calls `{name}`, which there is not"
    return f"calls `{name}`: did you mean `{near}`?"


def _key(error: KeyError) -> str:
    return str(error.args[0]).strip("'") if error.args else ""


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _kind(value: object) -> str:
    match value:
        case str():
            return "text"
        case int() | float():
            return "a number"
        case _:
            return "something else"
