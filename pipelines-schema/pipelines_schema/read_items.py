"""Lists of mappings, no two of which say the same, with every mistake noted."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from pipelines_schema.fields import Field, Reading
from pipelines_schema.nodes import Kind, MapNode, ScalarNode, described

_Item = TypeVar("_Item")


def read_distinct_items(
    reading: Reading,
    entry: Field | None,
    *,
    hint: str,
    example: str,
    most: int,
    read: Callable[[MapNode], _Item | None],
    second: str,
) -> tuple[_Item, ...]:
    """`read` gives None for an item that means nothing; one with mistakes is passed over. `example`
    is an item, `second` what one is called that says what another said."""
    node = None if entry is None else reading.list(entry, hint)
    if entry is None or node is None:
        return ()
    if not node.items:
        reading.add(entry.place, f"{entry.label} is empty: {hint}, or remove it")
    if len(node.items) > most:
        reading.add(
            entry.place, f"{entry.label} has {len(node.items)} items: at most {most} are allowed"
        )
        return ()
    known: list[_Item] = []
    for item in node.items:
        problems = reading.problems.count
        if not isinstance(item, MapNode):
            if not (isinstance(item, ScalarNode) and item.kind is Kind.BROKEN):
                said = f"an item of {entry.label} must be a mapping, this is {described(item)}"
                reading.add(item.place, f"{said}: write `{example}`")
            continue
        one = read(item)
        if one is None or reading.problems.count > problems:
            continue
        if one in known:
            reading.add(item.place, f"a second {second} says the same: remove one of them")
        known.append(one)
    return tuple(known)
