"""Bytes of another system's file → nodes, within the limits that workflows have.

It is read as our own files are, but for what those systems know and we don't: several documents in
one file, and `!reference [job, key]`, which becomes a mapping with that one key.
"""

from __future__ import annotations

from collections import deque

import yaml

from pipelines_schema.compose import FASTEST_LOADER, Wording, compose
from pipelines_schema.nodes import ListNode, MapNode, described
from pipelines_schema.problem import NotComposed, Place, Problem, ProblemList, TooManyProblems

REFERENCE = "!reference"
_WORDING = Wording(
    whole="the file", too_many="import its parts one by one", inside_itself="nothing can"
)


class Unreadable(Exception):
    """The file can't be imported; the problems say where and why."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = problems


def documents(content: bytes, file: str, included: bool = False) -> tuple[MapNode, ...]:
    """The mappings of a file, one of each document; the places of an included one name it.

    Raises Unreadable.
    """
    problems = ProblemList(file)
    try:
        root = compose(content, problems, _Events, _WORDING, file if included else None).root
    except (NotComposed, TooManyProblems):
        raise Unreadable(*problems.in_order()) from None
    found = root.items if isinstance(root, ListNode) else ()
    maps = tuple(one for one in found if isinstance(one, MapNode))
    for one in found:
        if not isinstance(one, MapNode):
            problems.add(one.place, f"a pipeline is a mapping of keys, this is {described(one)}")
    if not found:
        problems.add(Place(1, 1), "the file holds nothing to import")
    if problems:
        raise Unreadable(*problems.in_order())
    return maps


class _Events:
    """What `yaml.parse` takes for a loader: the documents as items of one list."""

    def __init__(self, stream: str) -> None:
        self._parser = FASTEST_LOADER(stream)
        self._ready: deque[yaml.Event] = deque()
        self._references: list[bool] = []
        """Of each open list or mapping, whether it is a reference."""
        self._documents = 0

    def check_event(self) -> bool:
        self._fill()
        return bool(self._ready)

    def get_event(self) -> yaml.Event:
        self._fill()
        return self._ready.popleft()

    def dispose(self) -> None:
        self._parser.dispose()

    def _fill(self) -> None:
        while not self._ready and self._parser.check_event():
            self._take(self._parser.get_event())

    def _take(self, event: yaml.Event) -> None:
        begin, end = event.start_mark, event.end_mark
        match event:
            case yaml.DocumentStartEvent():
                self._documents += 1
                if self._documents == 1:
                    self._ready += [event, yaml.SequenceStartEvent(None, None, True, begin, end)]
            case yaml.DocumentEndEvent():
                pass
            case yaml.StreamEndEvent() if self._documents:
                self._ready += [yaml.SequenceEndEvent(begin, end), yaml.DocumentEndEvent(begin)]
                self._ready.append(event)
            case yaml.SequenceStartEvent(tag="!reference"):
                self._references.append(True)
                self._ready += [
                    yaml.MappingStartEvent(event.anchor, None, True, begin, end),
                    yaml.ScalarEvent(None, None, (True, False), REFERENCE, begin, end),
                    yaml.SequenceStartEvent(None, None, True, begin, end),
                ]
            case yaml.SequenceStartEvent() | yaml.MappingStartEvent():
                self._references.append(False)
                self._ready.append(event)
            case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                self._ready.append(event)
                if self._references.pop():
                    self._ready.append(yaml.MappingEndEvent(begin, end))
            case _:
                self._ready.append(event)
