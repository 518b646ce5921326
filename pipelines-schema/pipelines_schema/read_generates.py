"""The `generates` of a step, with every mistake noted."""

from __future__ import annotations

from pipelines_schema.fields import Field, Reading
from pipelines_schema.paths import BadPath, normalised_output_path
from pipelines_schema.problem import shown

_HINT = "write the path of the file that the script writes, such as `more.yml`"


def read_generates(reading: Reading, entry: Field | None) -> str | None:
    """The file's path, relative to the workspace."""
    if entry is None:
        return None
    text = reading.text(entry, _HINT)
    if text is None or reading.refuse_expressions(entry.value, instead="write the path itself"):
        return None
    try:
        path = normalised_output_path(text)
    except BadPath as error:
        reading.add(entry.place, f"the path {shown(text)} of `generates` {error}")
        return None
    if path.endswith("/"):
        reading.add(entry.place, f"the path {shown(text)} of `generates` is a folder: {_HINT}")
        return None
    if any(sign in path for sign in "*?["):
        reading.add(entry.place, f"the path {shown(text)} of `generates` is a pattern: {_HINT}")
        return None
    return path


def kept_with(output_paths: tuple[str, ...], generates: str | None) -> tuple[str, ...]:
    """The file is one of the step's outputs: so the coordinator has it when the step has ended."""
    if generates is None or generates in output_paths:
        return output_paths
    return (*output_paths, generates)
