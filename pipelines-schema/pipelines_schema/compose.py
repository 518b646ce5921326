"""Bytes → nodes: YAML 1.2 core over PyYAML's events.

Only PyYAML's parser is used. Its composer and its constructor read YAML 1.1 (`on:` is True, `3.10`
is 3.1, `22:30` is 1350), recurse as deep as the file likes and expand any alias.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from pipelines_schema.limits import (
    MAX_DEPTH,
    MAX_EXPANDED_CHARACTERS,
    MAX_FILE_BYTES,
    MAX_NODES,
)
from pipelines_schema.nodes import Kind, ListNode, MapNode, Node, ScalarNode, described, plain_kind
from pipelines_schema.problem import NotComposed, Place, ProblemList, shown
from pipelines_schema.syntax import explained

FASTEST_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml where PyYAML was built with it: ten times as fast, with the same marks."""

LINE_BREAK = re.compile(r"\r\n|\r|\n")
# YAML's printable characters, less NEL, LS and PS: 1.1 breaks lines at them and 1.2 does not, so a
# file with one would be read differently here and in the editor.
_UNWANTED = re.compile(
    "[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
_TEXT_TAGS = frozenset({"!", "tag:yaml.org,2002:str"})
_LIST_TAGS = frozenset({"!", "tag:yaml.org,2002:seq"})
_MAP_TAGS = frozenset({"!", "tag:yaml.org,2002:map"})
_SECOND_MERGE = "a mapping has one `<<`: write `<<: [*first, *second]`, of which the earlier wins"
_BYTE_ORDER_MARKS_16 = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """What messages call the document: workflows are not the only files of the language."""

    whole: str = "the workflow"
    too_large: str = "move long scripts into files of the repository"
    too_many: str = "split it"
    second: str = "one file holds one workflow, so move it into a file of its own"
    inside_itself: str = "a workflow can't contain itself"


WORKFLOW_WORDING = Wording()


@dataclass(frozen=True, slots=True)
class Document:
    root: Node | None
    """None: the file holds nothing but comments."""
    lines: Sequence[str]


def compose(
    content: bytes,
    problems: ProblemList,
    loader: Any = FASTEST_LOADER,
    wording: Wording = WORKFLOW_WORDING,
    file: str | None = None,
) -> Document:
    """The file's one document; `file` is what the places in it name, where it is an included one.

    Raises NotComposed, TooManyProblems.
    """
    text = _decoded(content, problems, wording)
    lines = LINE_BREAK.split(text)
    _refuse_unwanted(lines, problems)
    events = _events(text, lines, problems, loader)
    return Document(_Composer(problems, wording, file).root(events), lines)


def _decoded(content: bytes, problems: ProblemList, wording: Wording) -> str:
    if len(content) > MAX_FILE_BYTES:
        problems.add(
            Place(1, 1),
            f"the file is larger than {MAX_FILE_BYTES // 1024} KiB: {wording.too_large}",
        )
        raise NotComposed
    if content.startswith(_BYTE_ORDER_MARKS_16):
        problems.add(Place(1, 1), "the file is UTF-16: save it as UTF-8")
        raise NotComposed
    try:
        return content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        before = LINE_BREAK.split(content[: error.start].decode("utf-8").removeprefix("\ufeff"))
        problems.add(
            Place(len(before), len(before[-1]) + 1),
            f"byte 0x{content[error.start]:02x} is not UTF-8: save the file as UTF-8",
        )
        raise NotComposed from None


def _refuse_unwanted(lines: Sequence[str], problems: ProblemList) -> None:
    """Raises NotComposed if a character stands there that YAML, or an editor, can't show."""
    for number, line in enumerate(lines, start=1):
        for found in _UNWANTED.finditer(line):
            problems.add(Place(number, found.start() + 1), _unwanted(found.group()))
    if problems:
        raise NotComposed


def _unwanted(character: str) -> str:
    code = ord(character)
    name = "a NUL byte (U+0000)" if code == 0 else f"the character U+{code:04X}"
    message = f"{name} is not allowed here: remove it"
    if code == 0:
        return message
    escape = f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
    return f"{message}, or write it as `{escape}` in a double-quoted text"


def _events(
    text: str, lines: Sequence[str], problems: ProblemList, loader: Any
) -> Iterator[yaml.Event]:
    try:
        yield from yaml.parse(text, Loader=loader)
    except yaml.MarkedYAMLError as error:
        problems.add(*explained(error, lines))
        raise NotComposed from None
    except (yaml.YAMLError, ValueError, OverflowError):
        # The pure Python scanner lets chr() and int() speak for "\UFFFFFFFF" and a huge %YAML.
        problems.add(
            Place(1, 1), "the file is not valid YAML: look for an escape or a number out of range"
        )
        raise NotComposed from None


@dataclass(frozen=True, slots=True)
class _Measured:
    """A node with what it costs when every alias in it is written out."""

    node: Node
    nodes: int
    height: int
    characters: int


@dataclass(slots=True)
class _Open:
    """A list or mapping whose end has not come yet."""

    is_map: bool
    place: Place
    anchor: str | None
    is_broken: bool
    children: list[Node] = field(default_factory=list)
    nodes: int = 1
    height: int = 1
    characters: int = 0


class _Composer:
    """Builds the tree with a stack of its own, so that no depth of nesting can exhaust Python's."""

    def __init__(self, problems: ProblemList, wording: Wording, file: str | None) -> None:
        self._problems = problems
        self._wording = wording
        self._file = file
        self._stack: list[_Open] = []
        self._anchored: dict[str, _Measured] = {}
        self._nodes = 0
        self._characters = 0
        self._root: Node | None = None
        self._documents = 0

    def root(self, events: Iterator[yaml.Event]) -> Node | None:
        for event in events:
            match event:
                case yaml.ScalarEvent():
                    self._scalar(event)
                case yaml.SequenceStartEvent() | yaml.MappingStartEvent():
                    self._open(event)
                case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                    self._close()
                case yaml.AliasEvent():
                    self._alias(event)
                case yaml.DocumentStartEvent():
                    self._document(event)
                case _:
                    pass
        return self._root

    def _document(self, event: yaml.DocumentStartEvent) -> None:
        self._documents += 1
        if self._documents > 1:
            self._stop(
                self._place(event),
                f"a second document begins here: {self._wording.second}",
            )

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        place = self._place(event)
        kind = Kind.TEXT if event.style else plain_kind(event.value)
        if event.tag is not None:
            kind = Kind.TEXT
            if event.tag not in _TEXT_TAGS:
                self._refuse_tag(event.tag, place)
                kind = Kind.BROKEN
        if not event.value.isascii() and _has_surrogate(event.value):
            self._problems.add(
                place,
                "this text holds half of a surrogate pair: write the "
                "character itself, or its 8 digits after `\\U`",
            )
            kind = Kind.BROKEN
        node = ScalarNode(event.value, kind, place, _line(event.end_mark))
        self._attach(_Measured(node, 1, 1, len(event.value)), event.anchor)

    def _open(self, event: yaml.SequenceStartEvent | yaml.MappingStartEvent) -> None:
        is_map = isinstance(event, yaml.MappingStartEvent)
        place = self._place(event)
        known = event.tag is None or event.tag in (_MAP_TAGS if is_map else _LIST_TAGS)
        if not known:
            self._refuse_tag(event.tag, place)
        if len(self._stack) >= MAX_DEPTH:
            self._refuse_depth(place)
        if event.anchor is not None:
            self._anchored.pop(event.anchor, None)
        self._count(1, 0, place)
        self._stack.append(_Open(is_map, place, event.anchor, not known))

    def _close(self) -> None:
        done = self._stack.pop()
        node: Node
        if done.is_broken:
            node = ScalarNode("", Kind.BROKEN, done.place)
        elif done.is_map:
            node = MapNode(self._entries(done.children), done.place)
        else:
            node = ListNode(tuple(done.children), done.place)
        measured = _Measured(node, done.nodes, done.height, done.characters)
        self._hand_up(measured, done.anchor)

    def _alias(self, event: yaml.AliasEvent) -> None:
        place = self._place(event)
        anchor = event.anchor or ""
        target = self._anchored.get(anchor)
        if target is None:
            self._problems.add(place, self._unknown_alias(anchor))
            target = _Measured(ScalarNode("", Kind.BROKEN, place), 1, 1, 0)
        if len(self._stack) + target.height > MAX_DEPTH + 1:
            self._refuse_depth(place)
        self._attach(target, None, place)

    def _unknown_alias(self, anchor: str) -> str:
        if any(entry.anchor == anchor for entry in self._stack):
            return f"`*{anchor}` stands inside what it repeats: {self._wording.inside_itself}"
        return (
            f"there is no `&{anchor}` before this `*{anchor}`: quote the text if the `*` belongs "
            "to it"
        )

    def _attach(self, measured: _Measured, anchor: str | None, place: Place | None = None) -> None:
        self._count(measured.nodes, measured.characters, place or measured.node.place)
        self._hand_up(measured, anchor)

    def _hand_up(self, measured: _Measured, anchor: str | None) -> None:
        if anchor is not None:
            self._anchored[anchor] = measured
        if not self._stack:
            self._root = measured.node
            return
        parent = self._stack[-1]
        parent.children.append(measured.node)
        parent.nodes += measured.nodes
        parent.characters += measured.characters
        parent.height = max(parent.height, measured.height + 1)

    def _count(self, nodes: int, characters: int, place: Place) -> None:
        self._nodes += nodes
        self._characters += characters
        if self._nodes > MAX_NODES:
            self._stop(
                place,
                f"{self._wording.whole} has more than {MAX_NODES:,} values once its aliases "
                f"are written out: {self._wording.too_many}",
            )
        if self._characters > MAX_EXPANDED_CHARACTERS:
            self._stop(
                place,
                f"{self._wording.whole} has more than {MAX_EXPANDED_CHARACTERS >> 20} MiB of "
                f"text once its aliases are written out: {self._wording.too_large}",
            )

    def _entries(self, children: list[Node]) -> tuple[tuple[ScalarNode, Node], ...]:
        """A key of the mapping's own wins over a merged one, an earlier merged one over a later."""
        entries: dict[str, tuple[ScalarNode, Node]] = {}
        merged: list[MapNode] = []
        for key, value in zip(children[::2], children[1::2], strict=True):
            if not isinstance(key, ScalarNode):
                self._problems.add(
                    key.place,
                    "a key must be text, this is a list or a mapping: "
                    "put it in quotes if it is meant as text",
                )
            elif key.kind is Kind.BROKEN:
                continue
            elif key.kind is Kind.MERGE:
                if merged:
                    self._problems.add(key.place, _SECOND_MERGE)
                merged += self._merged(key.place, value)
            elif key.text in entries:
                first = entries[key.text][0].place
                self._problems.add(
                    key.place,
                    f"the key {shown(key.text)} stands here a second time (first at line "
                    f"{first.line}, column {first.column}): remove one of them",
                )
            else:
                entries[key.text] = (key, value)
        if not merged:
            return tuple(entries.values())
        below = {key.text: (key, value) for one in reversed(merged) for key, value in one.entries}
        return tuple((below | entries).values())

    def _merged(self, place: Place, value: Node) -> list[MapNode]:
        """The mappings that a `<<` takes in."""
        found: list[MapNode] = []
        for one in value.items if isinstance(value, ListNode) else (value,):
            if isinstance(one, MapNode):
                found.append(one)
            elif not (isinstance(one, ScalarNode) and one.kind is Kind.BROKEN):
                self._problems.add(
                    place,
                    f"`<<` merges mappings, this is {described(one)}: write `<<: *name`, or a "
                    "list of such",
                )
        return found

    def _refuse_tag(self, tag: str | None, place: Place) -> None:
        short = (tag or "!").replace("tag:yaml.org,2002:", "!!")
        self._problems.add(
            place,
            f"the tag {shown(short)} is not supported: remove it, or put "
            "the text in quotes if the `!` belongs to it",
        )

    def _refuse_depth(self, place: Place) -> None:
        self._stop(place, f"this is nested more than {MAX_DEPTH} levels deep: make it flatter")

    def _stop(self, place: Place, message: str) -> None:
        self._problems.add(place, message)
        raise NotComposed

    def _place(self, event: yaml.Event) -> Place:
        mark = event.start_mark
        return Place(_line(mark), 1 if mark is None else mark.column + 1, file=self._file)


def _line(mark: Any) -> int:
    # The marks of events that a parser made are never None; only PyYAML's emitter leaves them out.
    return 1 if mark is None else int(mark.line) + 1


def _has_surrogate(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)
