"""What the steps of a build hand on to those that depend on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class HandedOn:
    """A step's part in it."""

    step_id: str
    depends_on: Sequence[str]
    values: Mapping[str, str]


def values_before(
    depends_on: Sequence[str], by_name: Mapping[str, HandedOn]
) -> dict[str, Mapping[str, str]]:
    """Of all that a step depends on, also by others: names to values, in the build's order."""
    found = set(depends_on)
    open_ones = list(found)
    while open_ones:
        further = set(by_name[open_ones.pop()].depends_on) - found
        found |= further
        open_ones += further
    return {name: one.values for name, one in by_name.items() if name in found and one.values}
