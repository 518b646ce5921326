"""In which folder and by which program a script runs, with every mistake noted."""

from __future__ import annotations

import re

from pipelines_schema.fields import Field, Reading
from pipelines_schema.limits import MAX_NAME_CHARACTERS, SHELL
from pipelines_schema.paths import BadPath, normalised_context
from pipelines_schema.problem import shown

_SHELL_HINT = "write `bash`, `sh`, `python` or a program that takes a script's path, such as `perl`"


def read_workdir(reading: Reading, entry: Field | None) -> str | None:
    """Normalised and relative to the workspace; None is the workspace itself."""
    if entry is None:
        return None
    text = reading.text(entry, "write a folder of the workspace, such as `web`")
    if text is None or reading.refuse_expressions(entry.value):
        return None
    try:
        path = normalised_context(text)
    except BadPath as error:
        reading.add(entry.place, f"the path {shown(text)} of {entry.label} {error}")
        return None
    return None if path == "." else path


def read_shell(reading: Reading, entry: Field | None) -> str | None:
    """None is bash."""
    if entry is None:
        return None
    text = reading.line_of_text(entry, _SHELL_HINT, MAX_NAME_CHARACTERS)
    if text is not None and not re.fullmatch(SHELL, text):
        reading.add(entry.place, f"{shown(text)} can't be a `shell`: {_SHELL_HINT}")
        return None
    return None if text == "bash" else text
