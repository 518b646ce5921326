"""A document as a tree of scalars, lists and mappings that know their place and their text.

Both doors lead here, YAML (`compose`) and the API's JSON (`json_nodes`), so that one reader checks
both.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from pipelines_schema.problem import Place


class Kind(Enum):
    """What a scalar is by the YAML 1.2 core schema; the value names it for people."""

    NULL = "empty"
    BOOLEAN = "a boolean"
    INTEGER = "a number"
    FLOAT = "a decimal number"
    TEXT = "text"
    MERGE = "a merge key"
    """`<<` without quotes: as a key it merges, anywhere else it is text."""
    BROKEN = "broken"
    """Its problem is already reported: the reader passes over it."""


@dataclass(frozen=True, slots=True)
class ScalarNode:
    text: str
    """As written (`3.10` stays `3.10`), quotes and escapes resolved."""
    kind: Kind
    place: Place
    end_line: int = 0


@dataclass(frozen=True, slots=True)
class ListNode:
    items: tuple[Node, ...]
    place: Place


@dataclass(frozen=True, slots=True)
class MapNode:
    entries: tuple[tuple[ScalarNode, Node], ...]
    """Keys are unique by their text."""
    place: Place


Node = ScalarNode | ListNode | MapNode

# The core schema of YAML 1.2.2, section 10.3.2: no `yes`, no `on`, no sexagesimal, no dates.
_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEAN = frozenset({"true", "True", "TRUE", "false", "False", "FALSE"})
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_MAX_NUMBER_CHARACTERS = 30


def plain_kind(text: str) -> Kind:
    """The kind of a plain (unquoted) scalar."""
    if text == "<<":
        return Kind.MERGE
    if text in _NULL:
        return Kind.NULL
    if text in _BOOLEAN:
        return Kind.BOOLEAN
    if _INTEGER.fullmatch(text):
        return Kind.INTEGER
    if _FLOAT.fullmatch(text):
        return Kind.FLOAT
    return Kind.TEXT


def integer(node: ScalarNode) -> int | None:
    """The value of an integer; None where it is none, or has more digits than any use has."""
    if node.kind is not Kind.INTEGER or len(node.text) > _MAX_NUMBER_CHARACTERS:
        return None
    if node.text.startswith(("0o", "0x")):
        return int(node.text, 0)
    return int(node.text)


def described(node: Node) -> str:
    """What a node is, in YAML's words: `a mapping`, `a list`, `text`, …"""
    match node:
        case MapNode():
            return "a mapping"
        case ListNode():
            return "a list"
        case ScalarNode():
            return node.kind.value
