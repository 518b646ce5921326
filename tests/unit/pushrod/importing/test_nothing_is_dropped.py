"""Whatever stands in a file of another system stands in what is made of it, or is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines_schema.nodes import Kind, ListNode, MapNode, Node, ScalarNode
from pipelines_schema.problem import Place
from pushrod.importing import imported_sources
from pushrod.importing.document import documents
from pushrod.importing.ledger import Ledger, Verdict
from pushrod.importing.sources import Source
from tests.unit.pushrod.importing.samples import CHOICES, format_of, samples, told

ADDED = "zzz-added"
PLACE = Place(99_999, 7)
SAYS_NOTHING = {
    ("bitbucket", "anchors"): [(0, 1), (0, 1, 0, 0, 3)],
    ("buildkite", "anchors"): [(0,)],
    ("woodpecker", "anchors"): [(0,)],
    **{("gitlab", name): [(0,)] for name in ("needs-and-dotenv", "parallel", "triggers")},
    ("gitlab", "stages"): [(1,)],
}
"""Lists in which a text more means nothing: places for anchors, and stages that no job is in."""
FILES = [one for one in samples() if not one.is_dir()]


def with_one_more(node: Node, at: tuple[int, ...]) -> Node:
    """The tree with a key more in the mapping, or an item in the list, that the path leads to."""
    added = ScalarNode(ADDED, Kind.TEXT, PLACE)
    match node:
        case MapNode(entries=entries) if not at:
            value = ScalarNode("z", Kind.TEXT, PLACE)
            return MapNode((*entries, (added, value)), node.place)
        case ListNode(items=items) if not at:
            return ListNode((*items, added), node.place)
        case MapNode(entries=entries):
            changed = [
                (key, with_one_more(value, at[1:]) if number == at[0] else value)
                for number, (key, value) in enumerate(entries)
            ]
            return MapNode(tuple(changed), node.place)
        case ListNode(items=items):
            inner = [
                with_one_more(one, at[1:]) if number == at[0] else one
                for number, one in enumerate(items)
            ]
            return ListNode(tuple(inner), node.place)
        case _:
            return node


def places(node: Node, path: tuple[int, ...] = ()) -> Iterator[tuple[int, ...]]:
    """The path to each mapping and list."""
    if isinstance(node, MapNode | ListNode):
        yield path
    values: list[Node] = []
    if isinstance(node, MapNode):
        values = [value for _, value in node.entries]
    elif isinstance(node, ListNode):
        values = list(node.items)
    for number, value in enumerate(values):
        yield from places(value, (*path, number))


def keys_above(node: Node, at: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """The places of a mapping, and of the keys and mappings that it stands in."""
    for number in at:
        if isinstance(node, MapNode):
            key, node = node.entries[number]
            yield key.place.line, key.place.column
        elif isinstance(node, ListNode):
            node = node.items[number]
        yield node.place.line, node.place.column


@pytest.mark.parametrize("sample", FILES, ids=lambda one: f"{one.parent.name}-{one.stem}")
def test_what_nobody_knows_is_told_or_kept_wherever_it_stands(sample: Path) -> None:
    form = format_of(sample)
    roots = documents(sample.read_bytes(), sample.name)
    for number, root in enumerate(roots):
        silent = SAYS_NOTHING.get((sample.parent.name, sample.stem), [])
        for at in (one for one in places(root) if one not in silent):
            changed = with_one_more(root, at)
            assert isinstance(changed, MapNode)
            found = (*roots[:number], changed, *roots[number + 1 :])
            source = Source(ledger=Ledger(sample.name), documents=found, name="x")
            done = imported_sources(form, [source], CHOICES, lambda name: None)
            above = {*keys_above(root, at), (PLACE.line, PLACE.column)}
            is_told = any(
                one.verdict is not Verdict.CARRIED and (one.place.line, one.place.column) in above
                for report in done.reports
                for one in report.findings
            )
            assert ADDED in told(done) or is_told, (at, told(done))
