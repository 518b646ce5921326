"""The parameters of a build that somebody starts by hand, and of a gate that somebody opens."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from pipelines_schema.limits import (
    ENVIRONMENT_NAME,
    MAX_NAME_CHARACTERS,
    MAX_PARAM_CHARACTERS,
    MAX_PARAMS,
)
from pipelines_schema.problem import shown
from pipelines_schema.stored_json import listed, texts, without_absent
from pipelines_schema.suggestions import closest


@dataclass(frozen=True, slots=True, kw_only=True)
class Param:
    name: str
    default: str | None = None
    """None: a manual build must give it; other builds lack it."""
    one_of: tuple[str, ...] | None = None
    """None: free text, which reaches scripts only as an environment variable."""

    @property
    def value_if_not_given(self) -> str | None:
        if self.default is None and self.one_of:
            return self.one_of[0]
        return self.default

    def to_json(self) -> dict[str, Any]:
        """For storage; `from_json` reads it back."""
        return without_absent(name=self.name, default=self.default, oneOf=listed(self.one_of))

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        return cls(name=value["name"], default=value.get("default"), one_of=texts(value, "oneOf"))


def default_params(params: Sequence[Param]) -> dict[str, str]:
    """What builds have that nobody gave any."""
    values = {param.name: param.value_if_not_given for param in params}
    return {name: value for name, value in values.items() if value is not None}


def param_problems(params: Sequence[Param], given: Mapping[str, str]) -> dict[str, str]:
    """Name of a parameter → what is wrong with it; empty where the build can be made."""
    known = {param.name: param for param in params}
    problems = {name: _unknown(name, known) for name in given if name not in known}
    for name, param in known.items():
        value = given.get(name, param.value_if_not_given)
        if value is None:
            problems[name] = f"the parameter {shown(name)} is missing, and has no default"
        elif param.one_of is not None and value not in param.one_of:
            listed = ", ".join(map(shown, param.one_of))
            problems[name] = f"{shown(name)} must be one of {listed}, not {shown(value)}"
        elif (fault := _value_fault(name, value)) is not None:
            problems[name] = fault
    return problems


def _unknown(name: str, known: Mapping[str, Param]) -> str:
    near = closest(name, known)
    if near is not None:
        return f"there is no parameter {shown(name)}: did you mean {shown(near)}?"
    listed = ", ".join(map(shown, known)) or "none"
    return f"there is no parameter {shown(name)}; the workflow has {listed}"


def replaced_params(params: Sequence[Param]) -> tuple[str, ...]:
    """What may stand in `${{ … }}`: the parameters whose values the workflow itself spells out."""
    return tuple(f"params.{param.name}" for param in params if param.one_of is not None)


def undeclared_param_problems(given: Mapping[str, str]) -> dict[str, str]:
    """The same for a workflow that declares none: whatever can be an environment variable."""
    if len(given) > MAX_PARAMS:
        first = next(iter(given))
        return {first: f"there are {len(given)} parameters: at most {MAX_PARAMS} are allowed"}
    problems: dict[str, str] = {}
    variables: dict[str, str] = {}
    for name, value in given.items():
        same = variables.setdefault(name.upper(), name)
        if len(name) > MAX_NAME_CHARACTERS or not re.fullmatch(ENVIRONMENT_NAME, name):
            problems[name] = (
                f"{shown(name)} must be named with letters, digits and `_`, not beginning with a "
                f"digit, at most {MAX_NAME_CHARACTERS} characters"
            )
        elif same != name:
            problems[name] = f"{shown(name)} and {shown(same)} would be the same variable"
        elif (fault := _value_fault(name, value)) is not None:
            problems[name] = fault
    return problems


def _value_fault(name: str, value: str) -> str | None:
    if "\0" not in value and len(value) <= MAX_PARAM_CHARACTERS:
        return None
    return (
        f"{shown(name)} must be text of at most {MAX_PARAM_CHARACTERS:,} characters without a NUL"
    )
