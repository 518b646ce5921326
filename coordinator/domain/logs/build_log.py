"""A build's log: the lines of all its steps in the order they came, and a cursor into them. Pure.

A cursor says of each step how much of it was given out, so that it stays right while several steps
write at once and when a step is tried once more. Its text is a list of parts: `3-7` for steps that
were given out whole, and `8:2:4096` for the one at position 8, of whose third attempt (from zero)
the first 4096 bytes were.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import NamedTuple

from pipelines_schema.log_frames import Frame, Stream

MAX_MESSAGE_BYTES = 16 * 1024
"""A longer line is given out in pieces."""
MAX_CURSOR_PARTS = 2000
_RANGE = re.compile(r"(\d{1,6})(?:-(\d{1,6}))?", re.ASCII)
_PLACE = re.compile(r"(\d{1,6}):(\d{1,6}):(\d{1,15})", re.ASCII)
START = "0"
"""The cursor of who has seen nothing, in text. No step ends before it: positions begin at 1."""


class Level(StrEnum):
    DEBUG = "DEBUG"
    INFO = "INFO"
    WARN = "WARN"
    ERROR = "ERROR"


class Place(NamedTuple):
    """Up to where one step's log was given out. A tuple, as Line is: there is one for each line,
    and a frozen dataclass takes five times as long to make."""

    attempt: int = 0
    """Index among the step's attempts."""
    offset: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """Positions are those of the steps in their build, counted from 1."""

    done: frozenset[int] = frozenset()
    places: Mapping[int, Place] = field(default_factory=dict)

    def place(self, position: int) -> Place:
        return self.places.get(position, Place())

    def at(self, position: int, place: Place) -> Cursor:
        return replace(self, places={**self.places, position: place})

    def past(self, position: int) -> Cursor:
        """Beyond the last word of a step."""
        places = {key: value for key, value in self.places.items() if key != position}
        return replace(self, done=self.done | {position}, places=places)

    def __str__(self) -> str:
        ranges = [str(a) if a == b else f"{a}-{b}" for a, b in _ranges(sorted(self.done))]
        places = [_place_text(key, place) for key, place in sorted(self.places.items())]
        return ",".join([*ranges, *places]) or START


def parse_cursor(text: str) -> Cursor | None:
    """None where it is not one of ours."""
    if text == START:
        return Cursor()
    done: set[int] = set()
    places: dict[int, Place] = {}
    parts = text.split(",")
    if len(parts) > MAX_CURSOR_PARTS:
        return None
    for part in parts:
        if place := _PLACE.fullmatch(part):
            places[int(place[1])] = Place(attempt=int(place[2]), offset=int(place[3]))
        elif span := _RANGE.fullmatch(part):
            first, last = int(span[1]), int(span[2] or span[1])
            if last - first > MAX_CURSOR_PARTS:
                return None
            done |= set(range(first, last + 1))
        else:
            return None
    return Cursor(done=frozenset(done), places=places)


@dataclass(slots=True)
class CursorWriter:
    """A cursor on its way over many messages, of which only the text is wanted."""

    cursor: Cursor
    _done: str = ""
    _places: dict[int, str] = field(default_factory=dict)
    _moved: dict[int, Place] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._start(self.cursor)

    def _start(self, cursor: Cursor) -> None:
        self.cursor, self._moved = cursor, {}
        self._done = str(replace(cursor, places={})) if cursor.done else ""
        self._places = {key: _place_text(key, one) for key, one in sorted(cursor.places.items())}

    def move(self, position: int, place: Place | None) -> None:
        """None: beyond the last word of the step."""
        if place is None:
            self._start(self.end.past(position))
        elif position in self._places:
            self._moved[position] = place
            self._places[position] = _place_text(position, place)
        else:
            self._start(self.end.at(position, place))

    @property
    def end(self) -> Cursor:
        return replace(self.cursor, places={**self.cursor.places, **self._moved})

    def __str__(self) -> str:
        parts = [self._done, *self._places.values()] if self._done else self._places.values()
        return ",".join(parts) or START


def _place_text(position: int, place: Place) -> str:
    return f"{position}:{place.attempt}:{place.offset}"


def _ranges(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    start = previous = None
    for number in numbers:
        if previous is not None and number == previous + 1:
            previous = number
            continue
        if start is not None and previous is not None:
            yield start, previous
        start = previous = number
    if start is not None and previous is not None:
        yield start, previous


class Line(NamedTuple):
    """One line of an attempt's text, or a piece of a long one, without its end."""

    text: str
    level: Level
    time: datetime
    end: int
    """Offset behind it, in bytes of the attempt's log."""


def lines_of(frames: Iterable[tuple[int, Frame]], *, ended: bool) -> list[Line]:
    """The whole lines of a run of an attempt's text, given as (offset, frame) without gaps.

    What is not ended yet by a line's end is left for later, unless the attempt has `ended` and
    the run reaches its end. A change between stdout and stderr ends a line too.
    """
    run = _Run(list(frames))
    lines: list[Line] = []
    pending, at = b"", 0
    for offset, frame in run.frames:
        if pending and run.frame_at(at).stream is not frame.stream:
            lines += run.lines(pending, at, line_end=0)
            pending = b""
        start = offset - len(pending)
        *whole, pending = (pending + frame.data).split(b"\n")
        for text in whole:
            lines += run.lines(text, start, line_end=1)
            start += len(text) + 1
        at = start
        while len(pending) > MAX_MESSAGE_BYTES:
            cut = _cut(pending)
            lines += run.lines(pending[:cut], at, line_end=0)
            pending, at = pending[cut:], at + cut
    return [*lines, *run.lines(pending, at, line_end=0)] if pending and ended else lines


class _Run:
    def __init__(self, frames: Sequence[tuple[int, Frame]]) -> None:
        self.frames = frames
        self._offsets = [offset for offset, _ in frames]

        self._times: dict[int, datetime] = {}

    def frame_at(self, offset: int) -> Frame:
        return self.frames[bisect_right(self._offsets, offset) - 1][1]

    def _line(self, text: bytes, start: int, end: int) -> Line:
        frame = self.frame_at(start)
        time = self._times.get(frame.time_ms)
        if time is None:  # most lines share theirs: an agent sends many at once
            time = datetime.fromtimestamp(frame.time_ms / 1000, UTC)
            self._times[frame.time_ms] = time
        return Line(
            text=text.decode("utf-8", "replace").removesuffix("\r"),
            level=Level.WARN if frame.stream is Stream.STDERR else Level.INFO,
            time=time,
            end=end,
        )

    def lines(self, text: bytes, start: int, *, line_end: int) -> Iterator[Line]:
        """One, or the pieces of a long one, each of the frame in which it begins."""
        while len(text) > MAX_MESSAGE_BYTES:
            cut = _cut(text)
            yield self._line(text[:cut], start, start + cut)
            text, start = text[cut:], start + cut
        yield self._line(text, start, start + len(text) + line_end)


def _cut(text: bytes) -> int:
    """Before a character of UTF-8 that would be cut through."""
    cut = MAX_MESSAGE_BYTES
    while cut > MAX_MESSAGE_BYTES - 4 and cut < len(text) and text[cut] & 0xC0 == 0x80:
        cut -= 1
    return cut
