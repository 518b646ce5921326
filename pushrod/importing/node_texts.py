"""What a node says, as other systems read it."""

from __future__ import annotations

from pipelines_schema.nodes import Kind, MapNode, Node, ScalarNode

_TRUE = frozenset({"true", "yes", "on"})
_FALSE = frozenset({"false", "no", "off"})


def is_null(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.kind is Kind.NULL


def text_of(node: Node | None) -> str | None:
    return node.text if isinstance(node, ScalarNode) and not is_null(node) else None


def truth(node: Node) -> bool | None:
    """Also by the words of YAML 1.1."""
    word = node.text.lower() if isinstance(node, ScalarNode) else ""
    return True if word in _TRUE else False if word in _FALSE else None


def flat(node: Node) -> list[str] | None:
    """The texts of lists within lists; None where something else stands in them."""
    if isinstance(node, ScalarNode):
        return [] if is_null(node) else [node.text]
    if isinstance(node, MapNode):
        return None
    inner = [flat(item) for item in node.items]
    return None if None in inner else [text for one in inner for text in one or ()]
