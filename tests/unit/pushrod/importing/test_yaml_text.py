from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pipelines_schema.compose import compose
from pipelines_schema.nodes import Kind, ListNode, MapNode, Node, ScalarNode
from pipelines_schema.problem import ProblemList
from pushrod.importing.yaml_text import entry

TEXTS = st.text(
    alphabet=st.characters(exclude_categories=["Cs"]) | st.sampled_from(" :#-'\"{}[],&*!|>%@`\n\t"),
    max_size=30,
)
WORDS = st.sampled_from(
    ["yes", "on", "null", "~", "3.10", "1e3", "0x1", ".5", "true", "10m", "a b"]
)
VALUES = st.recursive(
    TEXTS | WORDS | st.booleans() | st.integers(-5, 10**9),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(TEXTS.filter(bool), inner, max_size=4)
    ),
    max_leaves=8,
)


def read(node: Node) -> Any:
    match node:
        case MapNode(entries=entries):
            return {key.text: read(value) for key, value in entries}
        case ListNode(items=items):
            return [read(item) for item in items]
        case ScalarNode(kind=Kind.BOOLEAN, text=text):
            return text == "true"
        case ScalarNode(kind=Kind.INTEGER, text=text):
            return int(text)
        case ScalarNode(kind=Kind.TEXT, text=text):
            return text
    raise AssertionError(node)


@given(st.dictionaries(TEXTS.filter(bool), VALUES, min_size=1, max_size=4))
def test_what_is_written_is_read_as_what_it_was(value: Mapping[str, Any]) -> None:
    lines = [line for key, one in value.items() for line in entry(key, one, "")]
    problems = ProblemList("x")
    root = compose(("\n".join(lines) + "\n").encode(), problems).root
    assert not problems, (lines, problems.in_order())
    assert root is not None
    assert read(root) == value
