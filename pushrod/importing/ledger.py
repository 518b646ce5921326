"""What became of each key of a source: nothing is dropped without being told.

Whoever reads a key says what becomes of it; what nobody has read is found at the end by `sweep`,
and counts as left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum

from pipelines_schema.nodes import Kind, ListNode, MapNode, Node, ScalarNode, described, integer
from pipelines_schema.problem import Place, shown
from pushrod.importing.node_texts import flat, is_null, truth

_UNKNOWN = "`pushrod import` doesn't know this key"


class Verdict(IntEnum):
    """What became of a key; of several, the highest counts."""

    CARRIED = 0
    CHANGED = 1
    LEFT = 2


@dataclass(frozen=True, slots=True)
class Finding:
    """Why a key is not simply carried over."""

    place: Place
    what: str
    verdict: Verdict
    why: str


Spot = tuple[str | None, int, int]
"""A place as what it is known by: included files have lines and columns, too."""


def order_of(place: Place) -> tuple[str, int, int]:
    """By file and place."""
    return place.file or "", place.line, place.column


def spot_of(place: Place) -> Spot:
    return place.file, place.line, place.column


Notes = list[Finding]
"""The findings that stand as comments at one place of what is written."""


@dataclass(slots=True)
class Ledger:
    """Of one source file, which `file` names."""

    file: str
    verdicts: dict[Spot, Verdict] = field(default_factory=dict)
    findings: dict[Finding, None] = field(default_factory=dict)
    _whole: set[Spot] = field(default_factory=set)
    """Keys that were taken with all that stands below them."""
    _notes_of: dict[int, Notes] = field(default_factory=dict)
    """Where comments on a mapping's keys go, by the mapping's identity."""
    _opened: list[MapNode] = field(default_factory=list)
    """Kept, so that no identity is used twice."""
    included: list[MapNode] = field(default_factory=list)
    """Of further files that this one names: an account is kept of their keys, too."""

    def mark(
        self, place: Place, what: str, verdict: Verdict, why: str = "", notes: Notes | None = None
    ) -> None:
        """Note what became of what stands there; `why` is told in comments and summary."""
        spot = spot_of(place)
        self.verdicts[spot] = max(verdict, self.verdicts.get(spot, Verdict.CARRIED))
        if verdict is not Verdict.CARRIED:
            finding = Finding(replace(place, file=place.file or self.file), what, verdict, why)
            self.findings[finding] = None
            if notes is not None and finding not in notes:
                notes.append(finding)

    def open(self, node: MapNode, notes: Notes) -> Keys:
        """The keys of a mapping, each of which is to be taken."""
        self._notes_of[id(node)] = notes
        self._opened.append(node)
        return Keys(self, node, notes, {key.text: (key, value) for key, value in node.entries})

    def is_opened(self, node: Node) -> bool:
        """Whether keys below it are taken one by one."""
        if isinstance(node, ListNode):
            return any(map(self.is_opened, node.items))
        return id(node) in self._notes_of

    def cover(self, key: ScalarNode) -> None:
        """A key is taken together with everything below it."""
        self._whole.add(spot_of(key.place))

    def sweep(self, node: Node, notes: Notes) -> None:
        """Mark as left out whatever nobody has taken; mappings nest as deep as a file may."""
        if isinstance(node, ListNode):
            for item in node.items:
                self.sweep(item, notes)
        if not isinstance(node, MapNode):
            return
        notes = self._notes_of.get(id(node), notes)
        for key, value in node.entries:
            spot = spot_of(key.place)
            if spot not in self.verdicts and self.is_used(value):
                # It holds what others take by anchors, and means nothing itself.
                self.mark(key.place, key.text, Verdict.CARRIED)
                self.sweep(value, notes)
            elif spot not in self.verdicts:
                self.mark(key.place, key.text, Verdict.LEFT, _UNKNOWN, notes)
            elif spot in self._whole:
                self._count_below(value, self.verdicts[spot])
            else:
                self.sweep(value, notes)

    def is_used(self, node: Node | None) -> bool:
        """Whether keys below it were taken elsewhere."""
        entries = [] if node is None else list(_entries_below(node))
        return any(
            spot_of(key.place) in self.verdicts or self.is_used(value) for key, value in entries
        )

    def _count_below(self, node: Node, verdict: Verdict) -> None:
        for key, value in _entries_below(node):
            if verdict is Verdict.CARRIED:
                self.mark(key.place, key.text, verdict)
                self._count_below(value, verdict)

    def count(self, verdict: Verdict) -> int:
        """How many places of the file ended so."""
        return sum(one is verdict for one in self.verdicts.values())


def _entries_below(node: Node) -> Iterator[tuple[ScalarNode, Node]]:
    match node:
        case MapNode(entries=entries):
            yield from entries
        case ListNode(items=items):
            for item in items:
                yield from _entries_below(item)
        case _:
            pass


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one mapping. What is taken counts as carried; what has the wrong form is left."""

    ledger: Ledger
    node: MapNode
    notes: Notes
    _entries: Mapping[str, tuple[ScalarNode, Node]]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._entries)

    def __contains__(self, name: str) -> bool:
        return self._entry(name) is not None

    def _entry(self, name: str) -> tuple[ScalarNode, Node] | None:
        return self._entries.get(name)

    def place(self, name: str) -> Place:
        entry = self._entry(name)
        return self.node.place if entry is None else entry[0].place

    def noting(self, notes: Notes) -> Keys:
        """The same keys, whose comments go elsewhere."""
        return replace(self, notes=notes)

    def peek(self, name: str) -> Node | None:
        """The value, which stays to be taken."""
        entry = self._entry(name)
        return None if entry is None else entry[1]

    def take(self, name: str) -> Node | None:
        """The value with all that is below it; None where there is none, or it is empty."""
        entry = self._entry(name)
        if entry is None:
            return None
        self.ledger.mark(entry[0].place, name, Verdict.CARRIED)
        self.ledger.cover(entry[0])
        return None if is_null(entry[1]) else entry[1]

    def changed(self, name: str, why: str) -> None:
        """The key is there, but means something else now."""
        self._verdict(name, Verdict.CHANGED, why)

    def left(self, name: str, why: str) -> None:
        """The key is not carried over, with all that is below it."""
        self._verdict(name, Verdict.LEFT, why)

    def _verdict(self, name: str, verdict: Verdict, why: str) -> None:
        entry = self._entry(name)
        if entry is not None:
            if not self.ledger.is_opened(entry[1]):
                self.ledger.cover(entry[0])
            self.ledger.mark(entry[0].place, name, verdict, why, self.notes)

    def at(self, node: Node, what: str, verdict: Verdict, why: str) -> None:
        """What becomes of something that is no key of this mapping."""
        self.ledger.mark(node.place, what, verdict, why, self.notes)

    def text(self, name: str) -> str | None:
        """A number or a boolean as it was written."""
        node = self.take(name)
        if node is None or isinstance(node, ScalarNode):
            return None if node is None else node.text
        self.left(name, f"this is {described(node)} where text was expected")
        return None

    def texts(self, name: str) -> list[str]:
        """A text, or a list of such, in which further lists may stand."""
        node = self.take(name)
        if node is None:
            return []
        found = flat(node)
        if found is None:
            self.left(name, "only texts were expected in it")
        return found or []

    def boolean(self, name: str) -> bool | None:
        node = self.take(name)
        value = None if node is None else truth(node)
        if node is not None and value is None:
            self.left(name, "this is neither true nor false")
        return value

    def number(self, name: str) -> int | None:
        node = self.take(name)
        value = integer(node) if isinstance(node, ScalarNode) else None
        if node is not None and value is None:
            self.left(name, "a whole number was expected")
        return value

    def map(self, name: str, notes: Notes | None = None) -> Keys | None:
        """A mapping, whose keys are to be taken in turn."""
        entry = self._entry(name)
        if entry is None:
            return None
        key, value = entry
        if isinstance(value, MapNode):
            self.ledger.mark(key.place, name, Verdict.CARRIED)
            return self.ledger.open(value, self.notes if notes is None else notes)
        if is_null(value):
            self.take(name)
        else:
            self.left(name, f"this is {described(value)} where a mapping was expected")
        return None

    def items(self, name: str, *others: type[Node]) -> tuple[Node, ...]:
        """The mappings of a list, or the one, to be opened; and what else may stand in it.

        Whatever is neither is left out.
        """
        entry = self._entry(name)
        if entry is None:
            return ()
        self.ledger.mark(entry[0].place, name, Verdict.CARRIED)
        if is_null(entry[1]):
            return ()
        items = entry[1].items if isinstance(entry[1], ListNode) else (entry[1],)
        for item in items:
            if not isinstance(item, (MapNode, *others)):
                why = f"this is {described(item)} where a mapping was expected"
                self.at(item, name, Verdict.LEFT, why)
        return tuple(item for item in items if isinstance(item, (MapNode, *others)))

    def variables(self, name: str) -> dict[str, str]:
        """A mapping of names to texts; others are left out one by one."""
        keys = self.map(name)
        found: dict[str, str] = {}
        if keys is None:
            return found
        for key, value in keys.node.entries:
            if isinstance(value, ScalarNode):
                keys.take(key.text)
                found[key.text] = "" if value.kind is Kind.NULL else value.text
            else:
                keys.left(key.text, f"this is {described(value)} where text was expected")
        return found


def said(finding: Finding) -> str:
    """One finding in one line, with its place."""
    where = f"{finding.place.file}:{finding.place.line}:{finding.place.column}"
    how = "changed" if finding.verdict is Verdict.CHANGED else "not carried over"
    return f"{where}: {how}: {shown(finding.what)}: {finding.why}"
