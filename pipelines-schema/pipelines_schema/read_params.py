"""Parameters of a build, a gate or a template → values, with every mistake noted."""

from __future__ import annotations

import re

from pipelines_schema.fields import Field, Reading, Vocabulary, line_fault
from pipelines_schema.limits import (
    ENVIRONMENT_NAME,
    MAX_MATRIX_VALUE_CHARACTERS,
    MAX_NAME_CHARACTERS,
    MAX_PARAM_CHARACTERS,
    MAX_PARAMS,
)
from pipelines_schema.nodes import ListNode
from pipelines_schema.params import Param
from pipelines_schema.problem import shown
from pipelines_schema.suggestions import closest

PARAM = Vocabulary(
    where="a parameter",
    known=("default", "oneOf"),
    synonyms={
        "options": "write `oneOf`, a list",
        "choices": "write `oneOf`, a list",
        "enum": "write `oneOf`, a list",
        "required": "a parameter without `default` must be given: remove it",
    },
)
_PARAMS_HINT = "write the parameters' names with their `default` or `oneOf`"
_PARAM_HINT = "write `{default: …}`, `{oneOf: […]}`, or nothing"


def read_params(reading: Reading, entry: Field, prefix: str) -> tuple[Param, ...]:
    """Those that people are asked for; `prefix` begins the variables that scripts find."""
    names = read_param_names(reading, entry, _PARAMS_HINT, prefix)
    return tuple(_param(reading, param) for param in names)


def read_param_names(reading: Reading, entry: Field, hint: str, prefix: str) -> list[Field]:
    """Each parameter as it is written; `prefix` begins the variables that scripts find them as."""
    node = reading.mapping(entry, hint)
    entries = () if node is None else node.entries
    if len(entries) > MAX_PARAMS:
        reading.add(
            entry.place,
            f"`params` has {len(entries)} parameters: at most {MAX_PARAMS} are allowed",
        )
        return []
    seen: dict[str, str] = {}
    for key, _ in entries:
        if not re.fullmatch(ENVIRONMENT_NAME, key.text) or len(key.text) > MAX_NAME_CHARACTERS:
            reading.add(
                key.place,
                f"the parameter {shown(key.text)} must be named by letters, digits and `_`, not "
                f"begin with a digit, and have at most {MAX_NAME_CHARACTERS} characters",
            )
        twin = seen.setdefault(key.text.upper(), key.text)
        if twin != key.text:
            reading.add(
                key.place,
                f"{shown(key.text)} and {shown(twin)} would be the same variable "
                f"{prefix}{key.text.upper()}: rename one of them",
            )
    return [Field(key, value) for key, value in entries]


def _param(reading: Reading, entry: Field) -> Param:
    if entry.is_null or entry.is_broken:
        return Param(name=entry.name)
    node = reading.mapping(entry, _PARAM_HINT)
    fields = {} if node is None else reading.fields(node, PARAM)
    default = fields.get("default")
    text = None if default is None else reading.text(default, "write the value, or remove the key")
    if default is not None and text is not None:
        if len(text) > MAX_PARAM_CHARACTERS:
            reading.add(
                default.place, f"`default` is longer than {MAX_PARAM_CHARACTERS:,} characters"
            )
        reading.refuse_expressions(default.value)
    one_of = _one_of(reading, fields["oneOf"]) if "oneOf" in fields else None
    if one_of and default is not None and text is not None and text not in one_of:
        near = closest(text, one_of)
        meant = f"did you mean {shown(near)}?" if near else "add it there, or choose one of them"
        reading.add(default.place, f"the default {shown(text)} is not in `oneOf`: {meant}")
    return Param(name=entry.name, default=text, one_of=one_of)


def _one_of(reading: Reading, entry: Field) -> tuple[str, ...]:
    hint = "write a list of values"
    if isinstance(entry.value, ListNode) and not entry.value.items:
        reading.add(entry.place, f"`oneOf` is empty: {hint}, or remove it")
    found: dict[str, None] = {}
    for place, text in reading.texts(entry, hint, MAX_PARAMS):
        fault = line_fault(text, MAX_MATRIX_VALUE_CHARACTERS)
        if fault is not None:
            reading.add(place, f"a value of `oneOf` {fault}")
        if text in found:
            reading.add(place, f"`oneOf` names {shown(text)} twice: remove one of them")
        found[text] = None
    return tuple(found)
