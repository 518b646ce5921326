"""A step's keys laid over those that it reuses: `defaults` < template < step."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from pipelines_schema.fields import Field
from pipelines_schema.nodes import Kind, MapNode, Node, ScalarNode
from pipelines_schema.problem import Place
from pipelines_schema.read_build import NOT_BESIDE_BUILD
from pipelines_schema.read_gate import APPROVE
from pipelines_schema.step_keys import STEP

_MERGED = ("env", "agents")
"""Keys whose mappings are laid over one another, too."""
TWINS = (("image", "imageSlug"), ("run", "runScript"))
"""Two names of one key."""

Entry = tuple[ScalarNode, Node]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layered:
    """A step with what it reuses."""

    node: MapNode
    before: str = ""
    """Lines to run before its script."""
    variables: Mapping[str, Field] = field(default_factory=dict)
    """Of its templates' parameters, by the variable's name."""


def laid_over(own: MapNode, below: Sequence[Entry], without: Collection[str] = ()) -> MapNode:
    """`own` with those of `below` that it does not say itself; its place is `own`'s."""
    if not below:
        return own
    written = {key.text: (key, value) for key, value in own.entries}
    hidden = {*without, *(twin for pair in TWINS for twin in pair if written.keys() & set(pair))}
    entries = {
        key.text: (key, value)
        for key, value in below
        if key.text not in hidden and key.text not in written
    }
    for key, value in below:
        if key.text in written and key.text in _MERGED:
            written[key.text] = written[key.text][0], _both(written[key.text][1], value)
    return MapNode(tuple((entries | written).values()), own.place)


def _both(own: Node, below: Node) -> Node:
    if isinstance(own, MapNode) and isinstance(below, MapNode):
        named = {key.text: (key, value) for key, value in below.entries}
        named |= {key.text: (key, value) for key, value in own.entries}
        return MapNode(tuple(named.values()), own.place)
    return own


def without_a_place(own: MapNode) -> set[str]:
    """The defaults that mean nothing beside what a step says: they are passed over."""
    keys = {key.text: value for key, value in own.entries}
    if APPROVE in keys:
        return set(STEP.known)
    unfit = set(NOT_BESIDE_BUILD) if "build" in keys else set()
    if "dependsOn" not in keys:
        unfit.add("runOn")
    if "retries" in keys:
        unfit.add("atMostOnce")
    if "atMostOnce" in keys:
        unfit.add("retries")
    return unfit


def completed(node: MapNode, keys: Collection[str], place: Place) -> MapNode:
    """With a value for each of these keys that is missing, of which nothing is asked."""
    unknown = [
        (ScalarNode(key, Kind.TEXT, place), ScalarNode("", Kind.BROKEN, place)) for key in keys
    ]
    return laid_over(node, unknown)
