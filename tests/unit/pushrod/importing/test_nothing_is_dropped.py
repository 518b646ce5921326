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
FILES = [one for one in samples() if not one.is_dir()]


def with_a_key_more(node: Node, at: tuple[int, ...]) -> Node:
    """The tree with a key more in the mapping that the path leads to."""
    match node:
        case MapNode(entries=entries) if not at:
            key, value = ScalarNode(ADDED, Kind.TEXT, PLACE), ScalarNode("z", Kind.TEXT, PLACE)
            return MapNode((*entries, (key, value)), node.place)
        case MapNode(entries=entries):
            changed = [
                (key, with_a_key_more(value, at[1:]) if number == at[0] else value)
                for number, (key, value) in enumerate(entries)
            ]
            return MapNode(tuple(changed), node.place)
        case ListNode(items=items):
            inner = [
                with_a_key_more(one, at[1:]) if number == at[0] else one
                for number, one in enumerate(items)
            ]
            return ListNode(tuple(inner), node.place)
        case _:
            return node


def mappings(node: Node, path: tuple[int, ...] = ()) -> Iterator[tuple[int, ...]]:
    """The path to each mapping."""
    if isinstance(node, MapNode):
        yield path
    values: list[Node] = []
    if isinstance(node, MapNode):
        values = [value for _, value in node.entries]
    elif isinstance(node, ListNode):
        values = list(node.items)
    for number, value in enumerate(values):
        yield from mappings(value, (*path, number))


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
def test_a_key_that_nobody_knows_is_told_or_kept_wherever_it_stands(sample: Path) -> None:
    form = format_of(sample)
    roots = documents(sample.read_bytes(), sample.name)
    for number, root in enumerate(roots):
        for at in mappings(root):
            changed = with_a_key_more(root, at)
            assert isinstance(changed, MapNode)
            found = (*roots[:number], changed, *roots[number + 1 :])
            source = Source(ledger=Ledger(sample.name), documents=found, name="x")
            done = imported_sources(form, [source], CHOICES, lambda name: None)
            above = set(keys_above(root, at))
            left_above = any(
                one.verdict is not Verdict.CARRIED and (one.place.line, one.place.column) in above
                for report in done.reports
                for one in report.findings
            )
            assert ADDED in told(done) or left_above, (at, told(done))
