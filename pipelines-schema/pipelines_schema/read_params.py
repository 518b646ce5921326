"""The names of parameters, of a build or of a template."""

from __future__ import annotations

import re

from pipelines_schema.fields import Field, Reading
from pipelines_schema.limits import ENVIRONMENT_NAME, MAX_NAME_CHARACTERS, MAX_PARAMS
from pipelines_schema.problem import shown


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
