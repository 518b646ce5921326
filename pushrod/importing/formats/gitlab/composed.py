"""A GitLab file with what it takes from elsewhere: `include`, `extends` and `!reference`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from pipelines_schema.limits import MAX_INCLUDES, MAX_REUSED_NODES
from pipelines_schema.nodes import ListNode, MapNode, Node, ScalarNode
from pipelines_schema.problem import Problem
from pushrod.importing.document import REFERENCE, Unreadable, documents
from pushrod.importing.ledger import Keys, Ledger, Notes, Verdict
from pushrod.importing.node_texts import text_of
from pushrod.importing.sources import ReadFile

_MAX_DEPTH = 11
"""GitLab's own, of `extends`."""
_ELSEWHERE = "files from elsewhere are not fetched: bring what it does as `templates`"


@dataclass(slots=True)
class Composed:
    """The keys of a pipeline and of all it includes, the own ones winning."""

    ledger: Ledger
    entries: dict[str, tuple[ScalarNode, Node]] = field(default_factory=dict)
    _merged: int = 0

    def add(self, document: MapNode) -> None:
        """The keys of a later file, which win; mappings are merged."""
        for key, value in document.entries:
            known = self.entries.get(key.text)
            if known and isinstance(known[1], MapNode) and isinstance(value, MapNode):
                value = self._over(known[1], value)
            self.entries[key.text] = (key, value)

    def job(self, name: str) -> MapNode | None:
        """The mapping of a name, with all that it extends."""
        return self._job(name, ())

    def _job(self, name: str, outer: tuple[str, ...]) -> MapNode | None:
        entry = self.entries.get(name)
        if entry is None or not isinstance(entry[1], MapNode):
            return None
        node = self._resolved_map(entry[1], 0)
        found = next((value for key, value in node.entries if key.text == "extends"), None)
        bases = found.items if isinstance(found, ListNode) else (found,)
        merged: MapNode | None = None
        for base in bases:
            wanted = text_of(base)
            if wanted is None:
                continue
            if wanted in outer or wanted == name or len(outer) == _MAX_DEPTH:
                raise self._fault(base or node, f"`{wanted}` is extended in a circle, or too deep")
            inner = self._job(wanted, (*outer, name))
            if inner is None and base is not None:
                self.ledger.mark(
                    base.place, "extends", Verdict.LEFT, f"there is no `{wanted}` to extend"
                )
            if inner is not None:
                merged = inner if merged is None else self._over(merged, inner)
        return node if merged is None else self._over(merged, node)

    def _over(self, below: MapNode, above: MapNode) -> MapNode:
        """Mappings are merged, whatever else is replaced."""
        entries = {key.text: (key, value) for key, value in below.entries}
        self._merged += len(entries) + len(above.entries)
        if self._merged > MAX_REUSED_NODES:
            raise self._fault(above, "the file has too many keys once all is extended")
        for key, value in above.entries:
            known = entries.get(key.text)
            if known and isinstance(known[1], MapNode) and isinstance(value, MapNode):
                value = self._over(known[1], value)
            entries[key.text] = (key, value)
        return MapNode(tuple(entries.values()), above.place)

    def _fault(self, node: Node, message: str) -> Unreadable:
        place = node.place
        file = place.file or self.ledger.file
        return Unreadable(Problem(file=file, line=place.line, column=place.column, message=message))

    def _resolved_map(self, node: MapNode, depth: int) -> MapNode:
        entries = tuple((key, self._resolved(value, depth)) for key, value in node.entries)
        return MapNode(entries, node.place)

    def _resolved(self, node: Node, depth: int) -> Node:
        """The node with each reference replaced by what it names."""
        match node:
            case MapNode(entries=((key, ListNode() as path),)) if key.text == REFERENCE:
                return self._referred(node, path, depth)
            case MapNode():
                self._count(node)
                return self._resolved_map(node, depth)
            case ListNode():
                self._count(node)
                return ListNode(tuple(self._spliced(node.items, depth)), node.place)
            case _:
                return node

    def _spliced(self, items: tuple[Node, ...], depth: int) -> Iterator[Node]:
        """What a reference in a list names stands in its place: of a list, each item."""
        for item in items:
            found = self._resolved(item, depth)
            is_reference = isinstance(item, MapNode) and found is not item
            if is_reference and isinstance(found, ListNode):
                yield from found.items
            else:
                yield found

    def _count(self, node: Node) -> None:
        self._merged += 1
        if self._merged > MAX_REUSED_NODES:
            raise self._fault(node, "the file has too many keys once all is referred to")

    def _referred(self, node: MapNode, path: ListNode, depth: int) -> Node:
        self.ledger.mark(node.entries[0][0].place, REFERENCE, Verdict.CARRIED)
        names = [text_of(item) or "" for item in path.items]
        first = self.entries.get(names[0]) if names else None
        for name in names[1:]:
            entries = first[1].entries if first and isinstance(first[1], MapNode) else ()
            first = next((one for one in entries if one[0].text == name), None)
            if first is not None:
                self.ledger.mark(first[0].place, name, Verdict.CARRIED)
                self.ledger.cover(first[0])
        found = None if first is None else first[1]
        if found is None:
            self.ledger.mark(node.place, REFERENCE, Verdict.LEFT, f"there is no {'.'.join(names)}")
            return ListNode((), node.place)
        if depth == _MAX_DEPTH:
            raise self._fault(node, "references lead to references too deep")
        return self._resolved(found, depth + 1)


def composed(document: MapNode, keys: Keys, read: ReadFile, notes: Notes) -> Composed:
    """The pipeline with the repository's files that it includes. Raises Unreadable."""
    whole = Composed(keys.ledger)
    _include(whole, keys, read, notes, [])
    whole.add(document)
    return whole


def _include(whole: Composed, keys: Keys, read: ReadFile, notes: Notes, seen: list[str]) -> None:
    for item in keys.items("include", ScalarNode):
        if isinstance(item, ScalarNode):
            _file(whole, keys, item, item.text, read, notes, seen)
            continue
        if not isinstance(item, MapNode):
            continue
        inner = keys.ledger.open(item, notes)
        local = inner.peek("local")
        if isinstance(local, ScalarNode):
            inner.take("local")
            _file(whole, inner, local, local.text, read, notes, seen)
            inner.left("rules", "it is included always")
        for name in ("project", "ref", "file", "remote", "template", "component", "inputs"):
            inner.left(name, _ELSEWHERE)


def _file(
    whole: Composed,
    keys: Keys,
    place: Node,
    name: str,
    read: ReadFile,
    notes: Notes,
    seen: list[str],
) -> None:
    path = str(PurePosixPath(name.lstrip("/")))
    if "://" in name:
        keys.at(place, name, Verdict.LEFT, _ELSEWHERE)
        return
    if path in seen:
        return
    content = read(path) if len(seen) < MAX_INCLUDES else None
    if content is None:
        why = "it is no file of this repository that can be read, or there are too many"
        keys.at(place, name, Verdict.LEFT, why)
        return
    seen.append(path)
    for document in documents(content, path, included=True):
        keys.ledger.included.append(document)
        _include(whole, keys.ledger.open(document, notes), read, notes, seen)
        whole.add(document)
