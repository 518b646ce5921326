"""The variables and secrets of a step → values, with every mistake noted."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from pipelines_schema.fields import Field, Reading
from pipelines_schema.limits import (
    ENVIRONMENT_NAME,
    MAX_ENVIRONMENT_ENTRY_BYTES,
    MAX_NAME_CHARACTERS,
    MAX_STEP_SECRETS,
    RESERVED_PREFIX,
)
from pipelines_schema.nodes import Kind, MapNode, ScalarNode, described
from pipelines_schema.problem import Place, shown


def read_environment(
    reading: Reading, entry: Field | None, allowed: Collection[str]
) -> dict[str, str]:
    """The variables of an `env`, as text; numbers and booleans keep the text as written."""
    if entry is None:
        return {}
    node = reading.mapping(entry, "write `NAME: value` for each variable, or remove the key")
    env: dict[str, str] = {}
    for key, value in () if node is None else node.entries:
        text = _environment_value(reading, Field(key, value), allowed)
        if _environment_name_is_good(reading, key) and text is not None:
            env[key.text] = text
    return env


def read_variables(
    reading: Reading, fields: Mapping[str, Field], allowed: Collection[str]
) -> dict[str, str]:
    """Variables of our own whose values are the workflow's."""
    read = {name: _environment_value(reading, one, allowed) for name, one in fields.items()}
    return {name: text for name, text in read.items() if text is not None}


def _environment_name_is_good(reading: Reading, key: ScalarNode) -> bool:
    if not re.fullmatch(ENVIRONMENT_NAME, key.text):
        reading.add(
            key.place,
            f"the variable {shown(key.text)} must be named by letters, digits and `_`, and not "
            "begin with a digit",
        )
        return False
    if key.text.startswith(RESERVED_PREFIX):
        reading.add(
            key.place,
            f"the variable {shown(key.text)} is not yours to set: names that begin with "
            f"`{RESERVED_PREFIX}` are pushrod's own",
        )
        return False
    return True


def _environment_value(reading: Reading, entry: Field, allowed: Collection[str]) -> str | None:
    value = entry.value
    if isinstance(value, ScalarNode) and value.kind is not Kind.NULL:
        if value.kind is Kind.BROKEN or reading.refuse_expressions(value, allowed):
            return None
        if "\0" in value.text:
            reading.add(value.place, f"the variable {entry.label} holds a NUL byte: remove it")
            return None
        if len(f"{entry.name}={value.text}".encode()) > MAX_ENVIRONMENT_ENTRY_BYTES:
            reading.add(
                value.place,
                f"the variable {entry.label} is longer than the "
                f"{(MAX_ENVIRONMENT_ENTRY_BYTES + 1) // 1024} KiB that Linux allows: put the text "
                "into a file of the repository",
            )
            return None
        return value.text
    if entry.is_null:
        reading.add(
            entry.place, f'the variable {entry.label} is empty: write `""` if that is meant'
        )
    else:
        reading.add(
            entry.place, f"the variable {entry.label} must be text, this is {described(value)}"
        )
    return None


def secret_name_problem(name: str) -> str | None:
    """What is wrong with a secret's name, or None."""
    if not re.fullmatch(ENVIRONMENT_NAME, name) or len(name) > MAX_NAME_CHARACTERS:
        return (
            "must be named by letters, digits and `_`, not begin with a digit, and have at most "
            f"{MAX_NAME_CHARACTERS} characters"
        )
    if name.startswith(RESERVED_PREFIX):
        return f"has the name of a variable of pushrod's own: `{RESERVED_PREFIX}…` is taken"
    return None


def read_secrets(reading: Reading, fields: dict[str, Field]) -> dict[str, Place]:
    """The names, each with where it stands."""
    entry = fields.get("secrets")
    if entry is None:
        return {}
    environment = fields["env"].value if "env" in fields else None
    variables = (
        {key.text for key, _ in environment.entries} if isinstance(environment, MapNode) else set()
    )
    found: dict[str, Place] = {}
    hint = "write the names of the project's secrets, such as `[PYPI_TOKEN]`"
    for place, name in reading.texts(entry, hint, MAX_STEP_SECRETS, one_allowed=True):
        fault = secret_name_problem(name)
        if fault is not None:
            reading.add(place, f"the secret {shown(name)} {fault}")
        elif name in found:
            reading.add(place, f"`secrets` names {shown(name)} twice: remove one of them")
        elif name in variables:
            reading.add(
                place, f"{shown(name)} is a secret and a variable of `env`: remove one of them"
            )
        found[name] = place
    return found
