"""Decoded JSON → nodes, whose places are paths such as `steps[1].dependsOn[0]`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines_schema.limits import MAX_DEPTH, MAX_EXPANDED_CHARACTERS, MAX_NODES
from pipelines_schema.nodes import Kind, ListNode, MapNode, Node, ScalarNode
from pipelines_schema.problem import NotComposed, Place, ProblemList


class JsonComposer:
    """Bounded as files are: JSON has no aliases, but an API takes what it is sent."""

    def __init__(self, problems: ProblemList) -> None:
        self._problems = problems
        self._nodes = 0
        self._characters = 0

    def node(self, value: Any, path: str) -> Node:
        """The value as a node; what can't be one becomes a broken scalar, its problem noted.

        Raises NotComposed, TooManyProblems.
        """
        return self._node(value, Place(0, 0, path), 0)

    def _node(self, value: Any, place: Place, depth: int) -> Node:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            self._stop(place, f"the workflow has more than {MAX_NODES:,} values: split it")
        if depth > MAX_DEPTH:
            self._stop(place, f"this is nested more than {MAX_DEPTH} levels deep: make it flatter")
        if isinstance(value, Mapping):
            return MapNode(
                tuple(self._entry(str(key), item, place, depth) for key, item in value.items()),
                place,
            )
        if isinstance(value, Sequence) and not isinstance(value, str | bytes):
            items = enumerate(value)
            return ListNode(
                tuple(self._node(item, _item(place, index), depth + 1) for index, item in items),
                place,
            )
        return self._scalar(value, place)

    def _entry(self, key: str, value: Any, parent: Place, depth: int) -> tuple[ScalarNode, Node]:
        place = _member(parent, key)
        return self._scalar(key, place), self._node(value, place, depth + 1)

    def _scalar(self, value: Any, place: Place) -> ScalarNode:
        match value:
            case None:
                return ScalarNode("", Kind.NULL, place)
            case bool():
                return ScalarNode("true" if value else "false", Kind.BOOLEAN, place)
            case int() if value.bit_length() <= 64:
                return ScalarNode(str(value), Kind.INTEGER, place)
            case float() if math.isfinite(value):
                return ScalarNode(repr(value), Kind.FLOAT, place)
            case str() if _is_unicode(value):
                return self._text(value, place)
            case str():
                message = "this text holds half of a surrogate pair: it is not valid Unicode"
            case int() | float():
                message = "this number is out of range"
            case _:
                message = f"a {type(value).__name__} is not a JSON value"
        self._problems.add(place, message)
        return ScalarNode("", Kind.BROKEN, place)

    def _text(self, text: str, place: Place) -> ScalarNode:
        self._characters += len(text)
        if self._characters > MAX_EXPANDED_CHARACTERS:
            self._stop(
                place,
                f"the workflow has more than {MAX_EXPANDED_CHARACTERS >> 20} MiB of text: move "
                "long scripts into files of the repository",
            )
        return ScalarNode(text, Kind.TEXT, place)

    def _stop(self, place: Place, message: str) -> None:
        self._problems.add(place, message)
        raise NotComposed


def _member(place: Place, key: str) -> Place:
    if re.fullmatch("[A-Za-z0-9_]+", key):
        return Place(0, 0, f"{place.path}.{key}")
    return Place(0, 0, f"{place.path}[{key!r}]")


def _item(place: Place, index: int) -> Place:
    return Place(0, 0, f"{place.path}[{index}]")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
