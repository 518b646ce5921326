"""The `outputPaths` of a step, with every mistake noted."""

from __future__ import annotations

from pipelines_schema.fields import Field, Reading
from pipelines_schema.limits import MAX_PATHS
from pipelines_schema.nodes import MapNode, Node, ScalarNode
from pipelines_schema.paths import BadPath, normalised_output_path
from pipelines_schema.problem import shown

_HINT = "write a list of paths, or remove the key"


def read_output_paths(reading: Reading, entry: Field | None) -> tuple[str, ...]:
    if entry is None:
        return ()
    found: dict[str, str] = {}
    for item in reading.items(entry, _HINT, MAX_PATHS):
        if (keep := _keep_of(item)) is not None:
            reading.add(keep.place, "`keep` is not supported yet: write the path alone")
            continue
        text = reading.item_text(entry, item)
        if text is None:
            continue
        try:
            path = normalised_output_path(text)
        except BadPath as error:
            reading.add(item.place, f"the path {shown(text)} of {entry.label} {error}")
            continue
        if path.rstrip("/") in found:
            reading.add(item.place, f"{entry.label} names {shown(path)} twice: remove one of them")
        found[path.rstrip("/")] = path
    return tuple(found.values())


def _keep_of(item: Node) -> ScalarNode | None:
    """Where the item says how long it is to be kept."""
    entries = item.entries if isinstance(item, MapNode) else ()
    return next((key for key, _ in entries if key.text == "keep"), None)
