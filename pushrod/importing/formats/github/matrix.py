"""The matrix of a GitHub job, less the machines that there are none of."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from pipelines_schema.nodes import ListNode, MapNode, Node, ScalarNode
from pushrod.importing.draft import Value
from pushrod.importing.ledger import Keys, Verdict
from pushrod.importing.node_texts import is_null

_FOREIGN = re.compile(r"(?:windows|macos|mac|win)\b.*", re.IGNORECASE)
_RANGE = re.compile(r"[0-9]+(?:\.[0-9]+)*(?:\.[x*])+")
"""A version of which the newest is meant."""
NO_MACHINE = "steps run in Linux containers: there is no such machine"
_DYNAMIC = "pushrod knows the combinations before a build begins: write them out, or `generates`"


@dataclass(slots=True)
class MatrixDraft:
    value: dict[str, Value] = field(default_factory=dict)
    names: dict[str, bool] = field(default_factory=dict)
    """Each with whether all combinations have it."""
    foreign: bool = False
    """Nothing is left of it but machines that there are none of."""


def is_foreign(label: str) -> bool:
    """Whether a machine's label names another system than Linux."""
    return _FOREIGN.match(label) is not None


def read_matrix(strategy: Keys) -> MatrixDraft:
    """Of a job's `strategy`."""
    draft = MatrixDraft()
    if not isinstance(strategy.peek("matrix"), MapNode):
        strategy.left("matrix", _DYNAMIC)
        return draft
    keys = strategy.map("matrix")
    if keys is None:
        return draft
    special = ("include", "exclude")
    for name in keys.names:
        if name not in special and (values := _axis(keys, name)):
            draft.value[name] = values
            draft.names[name] = True
    axes = set(draft.names)
    for name in special:
        entries = _entries(keys, name)
        if name == "exclude":
            entries = [one for one in entries if _can_be(one, draft.value)]
        if entries:
            draft.value[name] = list(entries)
        if name == "include":
            for key in {key for one in entries for key in one}:
                everywhere = not axes and all(key in one for one in entries)
                draft.names.setdefault(key, everywhere)
    draft.foreign = not draft.value
    if strategy.boolean("fail-fast") in (None, True) and draft.value:
        draft.value["failFast"] = True
    return draft


def _can_be(entry: dict[str, Value], axes: dict[str, Value]) -> bool:
    """Whether an exclusion still has something to exclude."""
    for name, value in entry.items():
        known = axes.get(name)
        if not isinstance(known, list) or value not in known:
            return False
    return True


def _axis(keys: Keys, name: str) -> list[Value]:
    found: list[Value] = []
    if isinstance(keys.peek(name), ScalarNode):
        keys.left(name, _DYNAMIC)
        return found
    items = keys.items(name, ScalarNode, ListNode)
    for item in items:
        value = _value(keys, item, name)
        if value is not None and value not in found:
            found.append(value)
    if not found and items:
        keys.left(name, NO_MACHINE)
    return found


def _value(keys: Keys, item: Node, name: str) -> Value | None:
    match item:
        case ScalarNode() if "${{" in item.text:
            keys.at(item, name, Verdict.LEFT, _DYNAMIC)
        case ScalarNode() if name in ("os", "platform", "runner", "runs-on") and is_foreign(
            item.text
        ):
            keys.at(item, item.text, Verdict.LEFT, NO_MACHINE)
        case ScalarNode() if _RANGE.fullmatch(item.text):
            keys.at(item, item.text, Verdict.CHANGED, "an image's tag has no `x` in it")
            return item.text.rstrip(".x*")
        case ScalarNode() if item.text.strip() and not is_null(item):
            return item.text
        case ScalarNode():
            keys.at(item, name, Verdict.LEFT, "a value must not be empty")
        case MapNode():
            return _object(keys, item)
        case ListNode():
            keys.at(item, name, Verdict.LEFT, "a value is text, or a mapping of texts")
    return None


def _object(keys: Keys, item: MapNode) -> dict[str, Value] | None:
    inner = keys.ledger.open(item, keys.notes)
    found: dict[str, Value] = dict(inner_texts(inner))
    machine = next((str(found[key]) for key in ("os", "runner", "runs-on") if key in found), "")
    if is_foreign(machine):
        keys.at(item, machine, Verdict.LEFT, NO_MACHINE)
        return None
    return found or None


def inner_texts(keys: Keys) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in ((key.text, value) for key, value in keys.node.entries):
        if isinstance(value, ScalarNode) and "${{" not in value.text:
            keys.take(name)
            found[name] = "" if is_null(value) else value.text
        else:
            keys.left(name, "a value is text")
    return found


def _entries(keys: Keys, name: str) -> list[dict[str, Value]]:
    if isinstance(keys.peek(name), ScalarNode):
        keys.left(name, _DYNAMIC)
        return []
    found: list[dict[str, Value]] = []
    for item in keys.items(name):
        if isinstance(item, MapNode):
            inner = keys.ledger.open(item, keys.notes)
            entry: dict[str, Value] = {}
            for key in inner.names:
                node = inner.peek(key)
                if isinstance(node, MapNode):
                    opened = inner.map(key)
                    if opened is not None:
                        entry[key] = dict(inner_texts(opened))
                elif isinstance(node, ScalarNode) and "${{" not in node.text and node.text:
                    inner.take(key)
                    entry[key] = node.text
                else:
                    inner.left(key, "a value is text, or a mapping of texts")
            machine = str(next((entry[one] for one in ("os", "runner") if one in entry), ""))
            if is_foreign(machine):
                keys.at(item, machine, Verdict.LEFT, NO_MACHINE)
            elif entry:
                found.append(entry)
    return found
