"""The `outputPaths` of a step, with every mistake noted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipelines_schema.fields import Field, Reading, Vocabulary
from pipelines_schema.limits import MAX_KEEP_SECONDS, MAX_PATHS, MIN_KEEP_SECONDS
from pipelines_schema.nodes import MapNode, Node
from pipelines_schema.paths import BadPath, normalised_output_path
from pipelines_schema.problem import Place, shown
from pipelines_schema.read_endings import read_duration

OUTPUT = Vocabulary(
    where="an item of `outputPaths`",
    known=("path", "keep"),
    synonyms={
        "paths": "write an item for each `path`",
        "name": "write `path`",
        "expire_in": "write `keep`, a duration such as `30d`",
        "expireIn": "write `keep`, a duration such as `30d`",
        "retention-days": "write `keep`, a duration such as `30d`",
        "retentionDays": "write `keep`, a duration such as `30d`",
        "days": "write `keep`, a duration such as `30d`",
    },
)
_HINT = "write a list of paths, or remove the key"
_BOUNDS = f"must be from 1 minute to {MAX_KEEP_SECONDS // 86400} days"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputPaths:
    paths: tuple[str, ...] = ()
    keeps: Mapping[str, int] = field(default_factory=dict)
    """Path → seconds, of those that say how long they are kept."""


def read_output_paths(reading: Reading, entry: Field | None) -> OutputPaths:
    if entry is None:
        return OutputPaths()
    found: dict[str, str] = {}
    keeps: dict[str, int] = {}
    for item in reading.items(entry, _HINT, MAX_PATHS):
        place, path, keep = _output(reading, entry, item)
        if path is None:
            continue
        if path.rstrip("/") in found:
            reading.add(place, f"{entry.label} names {shown(path)} twice: remove one of them")
        found[path.rstrip("/")] = path
        if keep is not None:
            keeps[path] = keep
    return OutputPaths(paths=tuple(found.values()), keeps=keeps)


def _output(reading: Reading, entry: Field, item: Node) -> tuple[Place, str | None, int | None]:
    if not isinstance(item, MapNode) or reading.is_json:
        return item.place, _path(reading, entry, item.place, reading.item_text(entry, item)), None
    fields = reading.fields(item, OUTPUT)
    keep = read_duration(reading, fields.get("keep"), MIN_KEEP_SECONDS, MAX_KEEP_SECONDS, _BOUNDS)
    if "path" not in fields:
        reading.add(item.place, "an item of `outputPaths` needs `path`: what is to be kept")
        return item.place, None, None
    written = fields["path"]
    text = reading.text(written, "write a path or a pattern, such as `dist/*.whl`")
    if text is None or reading.refuse_expressions(written.value, instead="write the path itself"):
        return written.place, None, None
    return written.place, _path(reading, entry, written.place, text), keep


def _path(reading: Reading, entry: Field, place: Place, text: str | None) -> str | None:
    if text is None:
        return None
    try:
        return normalised_output_path(text)
    except BadPath as error:
        reading.add(place, f"the path {shown(text)} of {entry.label} {error}")
        return None
