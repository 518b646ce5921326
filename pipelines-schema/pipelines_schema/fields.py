"""Reading a document's nodes as what the workflow language expects, noting every mistake.

A reading function returns None where it has noted a problem; the caller goes on with the rest, so
that all mistakes of a file are found in one pass.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pipelines_schema.conditions import Watch, unwatched
from pipelines_schema.expressions import OPENING, expressions, refusal
from pipelines_schema.limits import EXTENSION_PREFIX
from pipelines_schema.nodes import Kind, ListNode, MapNode, Node, ScalarNode, described
from pipelines_schema.problem import Place, ProblemList, shown
from pipelines_schema.suggestions import closest

# Marks that make text read in another order than it is stored: a name could pass for another.
_REORDERING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@dataclass(frozen=True, slots=True)
class Field:
    """A key with its value."""

    key: ScalarNode
    value: Node

    @property
    def name(self) -> str:
        return self.key.text

    @property
    def label(self) -> str:
        return shown(self.name)

    @property
    def is_broken(self) -> bool:
        return isinstance(self.value, ScalarNode) and self.value.kind is Kind.BROKEN

    @property
    def is_null(self) -> bool:
        return isinstance(self.value, ScalarNode) and self.value.kind is Kind.NULL

    @property
    def place(self) -> Place:
        """Of the value; of the key where there is nothing to point at."""
        return self.key.place if self.is_null else self.value.place


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """The keys of one mapping of the language."""

    where: str
    """For people: `a step`, `a workflow`."""
    known: Collection[str]
    not_built: Collection[str] = ()
    """Keys of the language's design that this release does not have."""
    synonyms: Mapping[str, str] = field(default_factory=dict)
    """Words of other systems → what to write here."""
    has_extensions: bool = False
    """Whether keys that begin with `x-` are passed over: a place for anchors."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One document being read."""

    problems: ProblemList
    lines: Sequence[str] = ()
    """The file's, to point into a script; none for JSON."""
    lines_of_file: dict[str, Sequence[str]] = field(default_factory=dict)
    """Those of the included files."""
    is_json: bool = False
    watch: Watch = unwatched

    def lines_at(self, place: Place) -> Sequence[str]:
        """Of the file that the place is in."""
        return self.lines if place.file is None else self.lines_of_file.get(place.file, ())

    def add(self, place: Place, message: str) -> None:
        self.problems.add(place, message)

    def fields(self, node: MapNode, vocabulary: Vocabulary) -> dict[str, Field]:
        """The known keys of a mapping; each other key is a problem."""
        found: dict[str, Field] = {}
        for key, value in node.entries:
            if key.text in vocabulary.known:
                found[key.text] = Field(key, value)
            elif not (vocabulary.has_extensions and key.text.startswith(EXTENSION_PREFIX)):
                self.add(key.place, _unknown_key(key.text, vocabulary))
        return found

    def mapping(self, entry: Field, hint: str) -> MapNode | None:
        """`hint` says what to write, as in `…: {hint}`."""
        if isinstance(entry.value, MapNode):
            return entry.value
        self._wrong_type(entry, "a mapping", hint)
        return None

    def list(self, entry: Field, hint: str) -> ListNode | None:
        if isinstance(entry.value, ListNode):
            return entry.value
        self._wrong_type(entry, "a list", hint)
        return None

    def text(self, entry: Field, hint: str) -> str | None:
        """A scalar's text as written: `3.10` without quotes is the text `3.10`."""
        if self.is_text(entry.value):
            return self._checked(entry.value, entry.label)
        self._wrong_type(entry, "text", hint)
        return None

    def line_of_text(
        self, entry: Field, hint: str, max_characters: int, allowed: Collection[str] = ()
    ) -> str | None:
        """A text of one line, not blank, with nothing in it that can't be shown."""
        text = self.text(entry, hint)
        if text is None or self.refuse_expressions(entry.value, allowed):
            return None
        fault = line_fault(text, max_characters)
        if fault is not None:
            self.add(entry.place, f"{entry.label} {fault}")
            return None
        return text

    def texts(
        self, entry: Field, hint: str, max_items: int, *, one_allowed: bool = False
    ) -> Iterator[tuple[Place, str]]:
        """The texts of a list, with their places; with `one_allowed` a lone text is a list too."""
        alone = one_allowed and self.is_text(entry.value)
        for item in (entry.value,) if alone else self.items(entry, hint, max_items):
            text = self.item_text(entry, item)
            if text is not None:
                yield item.place, text

    def items(self, entry: Field, hint: str, max_items: int) -> tuple[Node, ...]:
        """Those of a list that is not too long."""
        node = self.list(entry, hint)
        items = () if node is None else node.items
        if len(items) > max_items:
            self.add(
                entry.place,
                f"{entry.label} has {len(items)} items: at most {max_items} are allowed",
            )
            return ()
        return items

    def item_text(self, entry: Field, item: Node) -> str | None:
        if not self.is_text(item):
            if not (isinstance(item, ScalarNode) and item.kind is Kind.BROKEN):
                self.add(
                    item.place, f"an item of {entry.label} must be text, this is {described(item)}"
                )
            return None
        text = self._checked(item, f"an item of {entry.label}")
        return None if self.refuse_expressions(item) else text

    def refuse_expressions(
        self,
        node: Node,
        allowed: Collection[str] = (),
        *,
        in_script: bool = False,
        instead: str | None = None,
    ) -> bool:
        """Note each `${{ … }}` that is not allowed, where it stands; tell whether there was one.

        `instead` says what to do where there is no script that could read a variable.
        """
        found = [one for one in self.expressions(node) if one[1] not in allowed]
        for place, expression in found:
            self.add(place, refusal(expression, in_script, allowed, instead))
        return bool(found)

    def expressions(self, node: Node) -> Iterator[tuple[Place, str]]:
        """Where each `${{ … }}` of a scalar stands, and what is in it."""
        if not isinstance(node, ScalarNode) or OPENING not in node.text:
            return
        places = _places_of(OPENING, node, self.lines_at(node.place))
        for number, expression in expressions(node.text):
            yield (places[number] if number < len(places) else node.place), expression

    def is_text(self, node: Node) -> bool:
        """Whether it counts as text: without quotes, numbers and booleans do."""
        if not isinstance(node, ScalarNode) or node.kind in (Kind.NULL, Kind.BROKEN):
            return False
        return node.kind is Kind.TEXT or not self.is_json

    def _checked(self, node: Node, label: str) -> str | None:
        assert isinstance(node, ScalarNode)  # noqa: S101 - `is_text` was asked
        if "\0" in node.text:
            self.add(node.place, f"{label} holds a NUL byte: remove it")
            return None
        return node.text

    def _wrong_type(self, entry: Field, wanted: str, hint: str) -> None:
        if entry.is_broken:
            return
        if entry.is_null:
            self.add(entry.place, f"{entry.label} is empty: {hint}")
            return
        self.add(
            entry.place, f"{entry.label} must be {wanted}, this is {described(entry.value)}: {hint}"
        )


def one_of(reading: Reading, fields: dict[str, Field], short: str, long: str) -> Field | None:
    """The field under one of its two names; both at once are a problem."""
    if short in fields and long in fields:
        reading.add(
            fields[long].key.place,
            f"`{short}` and `{long}` are the same thing: remove one of them",
        )
    return fields.get(short) or fields.get(long)


def line_fault(text: str, max_characters: int) -> str | None:
    """What is wrong with a text of one line, as in `… {fault}`, or None."""
    if not text.strip():
        return "is empty: write at least one character"
    if len(text) > max_characters:
        return f"is longer than {max_characters} characters: it has {len(text)}"
    if text != text.strip():
        return "begins or ends with a space: remove it"
    hidden = [
        c for c in text if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or c in _REORDERING
    ]
    if hidden:
        return f"holds the control character U+{ord(hidden[0]):04X}: remove it"
    return None


def _unknown_key(key: str, vocabulary: Vocabulary) -> str:
    if key in vocabulary.not_built:
        return f"{shown(key)} is not supported yet"
    if key in vocabulary.synonyms:
        return f"unknown key {shown(key)}: {vocabulary.synonyms[key]}"
    near = closest(key, [*vocabulary.known, *vocabulary.not_built])
    if near is not None:
        return f"unknown key {shown(key)}: did you mean `{near}`?"
    known = ", ".join(f"`{name}`" for name in vocabulary.known)
    return f"unknown key {shown(key)}: the keys of {vocabulary.where} are {known}"


def _places_of(part: str, node: ScalarNode, lines: Sequence[str]) -> list[Place]:
    """Where `part` stands in the file, if it stands there as often as in the node's text.

    An escape such as `\\x24` in a quoted text breaks the count; then nothing is said rather than
    something wrong.
    """
    places: list[Place] = []
    first = node.place.line
    for number, line in enumerate(lines[first - 1 : node.end_line] if lines else (), start=first):
        start = line.find(part, node.place.column - 1 if number == first else 0)
        while start >= 0:
            places.append(Place(number, start + 1, file=node.place.file))
            start = line.find(part, start + len(part))
    return places[: node.text.count(part)] if len(places) >= node.text.count(part) else []
