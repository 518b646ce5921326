"""The log of a build: every step's lines as they came, from a cursor on and live to the end, or
step by step as one text."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple

from coordinator.domain.errors import Invalid, NotFound
from coordinator.domain.lifecycle import FINISHED_BUILD, FINISHED_STEP
from coordinator.domain.logs.build_log import Cursor, CursorWriter, Level, Line, Place, lines_of
from coordinator.domain.logs.build_log_events import event_of_step, events_of_build
from coordinator.domain.logs.whole_log import parts_of
from coordinator.domain.model import Attempt, AttemptState, Build, Step
from coordinator.domain.people.permissions import Principal
from coordinator.services.core import Core
from coordinator.services.logs.logs import LOG_GONE
from coordinator.services.news import build_topic, log_topic, wait_for
from coordinator.storage.builds import builds as stored
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.steps import attempts as stored_attempts

READ_BYTES = 64 * 1024
"""Of each step at a time; more than the longest message."""
WHOLE_READ_BYTES = 256 * 1024
MAX_READ_BYTES = 2 * 1024 * 1024
"""After so much that a filter leaves out an answer is given, though there is little in it."""
IDLE_SECONDS = 10.0
"""A follower that has nothing to be told gets its turn so often."""


class Message(NamedTuple):
    text: str
    level: Level
    time: datetime
    metadata: Mapping[str, str]
    """`cursor` is from where the next message is read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    levels: frozenset[Level] = frozenset(Level)
    step: str | None = None
    since: datetime | None = None

    def admits(self, entry: Entry) -> bool:
        return (
            entry.line.level in self.levels
            and (self.step is None or entry.metadata.get("step") == self.step)
            and (self.since is None or entry.line.time >= self.since)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    build: Build
    messages: Sequence[Message]
    cursor: Cursor
    more: bool
    """There is more already."""
    complete: bool
    """There will never be more."""
    read_bytes: int
    """Of the steps' logs, to find these messages."""
    topics: Sequence[str] = ()
    """The news on which there may be more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What there is to read, as it was at one moment."""

    build: Build
    steps: Sequence[Step]
    attempts: Mapping[str, Sequence[Attempt]]
    """By step, in the order they were tried."""

    @property
    def topics(self) -> list[str]:
        running = [
            attempt.id
            for attempts in self.attempts.values()
            for attempt in attempts
            if attempt.state is AttemptState.RUNNING
        ]
        return [build_topic(self.build.id), *map(log_topic, running)]


class Entry(NamedTuple):
    """A message without its cursor yet, and what it does to the cursor of its step."""

    position: int
    line: Line
    metadata: Mapping[str, str]
    place: Place | None
    """None: nothing of this step is left after it."""


@dataclass(slots=True, kw_only=True)
class Harvest:
    """Entries of several steps; what comes after the horizon is not known to be whole."""

    limit: int
    entries: list[tuple[datetime, int, int, Entry]] = field(default_factory=list)
    horizon: datetime | None = None
    cut: bool = False
    read_bytes: int = 0

    def add(self, entries: Sequence[Entry], *, whole: bool) -> None:
        """The entries of one step, in order. An agent's clock may step back: order wins."""
        latest: datetime | None = None
        for index, entry in enumerate(entries):
            latest = max(latest or entry.line.time, entry.line.time)
            self.entries.append((latest, entry.position, index, entry))
        if not whole and latest is not None:
            self._end_at(latest)
        if len(self.entries) >= self.limit:
            self._end_at(sorted(self.entries, key=lambda one: one[:3])[self.limit - 1][0])

    def _end_at(self, time: datetime) -> None:
        self.cut = True
        self.horizon = time if self.horizon is None else min(self.horizon, time)

    def reaches(self, time: datetime | None) -> bool:
        """Whether something of that time could still be among the first."""
        return self.horizon is None or time is None or time <= self.horizon

    def in_order(self) -> Iterator[Entry]:
        for time, _, _, entry in sorted(self.entries, key=lambda one: one[:3]):
            if self.horizon is None or time <= self.horizon:
                yield entry


@dataclass(frozen=True, slots=True)
class BuildLogs:
    core: Core

    async def read(
        self,
        principal: Principal,
        build_id: str,
        cursor: Cursor,
        wanted: Filter | None = None,
        *,
        limit: int,
    ) -> Page:
        """At most `limit` messages from the cursor on. Raises NotFound, Invalid (no such step)."""
        wanted = wanted or Filter()
        messages: list[Message] = []
        read_bytes = 0
        while True:
            view = await self.view(principal, build_id)
            _check_step(view, wanted)
            page = await self._round(view, cursor, wanted, limit - len(messages))
            messages += page.messages
            cursor = page.cursor
            read_bytes += page.read_bytes
            if not page.more or len(messages) == limit or read_bytes >= MAX_READ_BYTES:
                return replace(page, messages=messages)

    async def follow(
        self,
        principal: Principal,
        build_id: str,
        cursor: Cursor,
        wanted: Filter | None = None,
        *,
        at_once: int,
    ) -> AsyncGenerator[Page, None]:
        """Pages until the log is complete; an empty one now and then while nothing happens.

        Raises NotFound, also when the build is deleted meanwhile. Ends early, with a page that is
        not complete, when the coordinator is about to stop.
        """
        topics: Sequence[str] = [build_topic(build_id)]
        while True:
            with self.core.news.listen(*topics) as moved:
                page = await self.read(principal, build_id, cursor, wanted, limit=at_once)
                if set(page.topics) - set(topics):
                    # Something has begun that was not listened to: look once more.
                    moved.set()
                topics, cursor = page.topics, page.cursor
                yield page
                if page.complete or self.core.news.closing:
                    return
                if not page.more:
                    await wait_for(moved, IDLE_SECONDS)

    async def view(self, principal: Principal, build_id: str) -> View:
        """Raises NotFound, also for another account's build."""

        async def read(connection: AsyncConnection) -> View | None:
            build = await stored.find_build(connection, build_id)
            if build is None:
                return None
            return View(
                build=build,
                steps=await stored.steps_of_build(connection, build_id),
                attempts=await stored_attempts.attempts_of_build(connection, build_id),
            )

        view = await self.core.database.read(read)
        if view is None or not principal.sees(view.build.account_id):
            raise NotFound("build not found")
        return view

    async def text(self, view: View) -> AsyncIterator[bytes]:
        """Whole, in pieces of bounded size whatever the logs hold; of a running attempt what there
        is."""
        for heading, attempt, after in parts_of(view.build, view.steps, view.attempts):
            yield f"=== {heading} ===\n".encode()
            ending = b"\n"
            if attempt is not None:
                async for data in self._whole(attempt):
                    ending = data[-1:]
                    yield data
            if ending != b"\n":
                yield b"\n"
            if after:
                yield "".join(f"=== {line}\n" for line in after.splitlines()).encode()

    async def _whole(self, attempt: Attempt) -> AsyncIterator[bytes]:
        """Up to where it reached when its turn came, so that a busy script can't go on forever."""
        offset, size = 0, await self.core.logs.size(attempt.log_id, at_least=attempt.log_bytes or 0)
        if size == 0 and attempt.log_bytes:
            yield f"{LOG_GONE}\n".encode()
        while offset < size:
            data = await self.core.logs.read(
                attempt.log_id, offset, min(WHOLE_READ_BYTES, size - offset)
            )
            if not data:
                return
            offset += len(data)
            yield data

    async def _round(self, view: View, cursor: Cursor, wanted: Filter, limit: int) -> Page:
        """What there is from the cursor on, in the order of time, at most `limit` messages."""
        harvest = Harvest(limit=limit)
        numbered = list(enumerate(view.steps, start=1))
        for position, step in sorted(
            numbered, key=lambda one: _begin(one[1]) or view.build.created_at
        ):
            if position in cursor.done:
                continue
            if not harvest.reaches(_begin(step)):
                harvest.cut = True
                break
            entries, whole, cursor = await self._entries(view, step, position, cursor, wanted.since)
            harvest.add(entries, whole=whole)
            harvest.read_bytes += READ_BYTES
        last = len(view.steps) + 1
        entries = list(harvest.in_order())
        if view.build.state in FINISHED_BUILD and last not in cursor.done and not harvest.cut:
            entries += _last_entries(view, last, cursor)
        messages, cursor, all_seen = _chosen(entries, cursor, wanted, limit)
        more = harvest.cut or not all_seen
        return Page(
            build=view.build,
            messages=messages,
            cursor=cursor,
            more=more,
            complete=last in cursor.done and not more,
            read_bytes=harvest.read_bytes,
            topics=view.topics,
        )

    async def _entries(
        self, view: View, step: Step, position: int, cursor: Cursor, since: datetime | None
    ) -> tuple[Sequence[Entry], bool, Cursor]:
        """Of one step: its entries, whether that is all there is now, and the cursor moved over
        attempts of which nothing is wanted."""
        attempts = view.attempts.get(step.id, ())
        place = cursor.place(position)
        while place.attempt < len(attempts):
            attempt = attempts[place.attempt]
            ended = attempt.state is not AttemptState.RUNNING
            old = since is not None and attempt.finished_at and attempt.finished_at < since
            lines, all_read = ([], True) if old else await self._lines(attempt, place, ended=ended)
            if lines:
                more = not all_read or place.attempt + 1 < len(attempts)
                entries = _entries(position, step, attempt, place, lines)
                if not more and ended and step.state in FINISHED_STEP:
                    entries.append(_end_of(position, step))
                return entries, not more, cursor
            if not ended:
                return (), True, cursor
            place = Place(attempt=place.attempt + 1)
            cursor = cursor.at(position, place)
        if step.state in FINISHED_STEP:
            return [_end_of(position, step)], True, cursor
        return (), True, cursor

    async def _lines(
        self, attempt: Attempt, place: Place, *, ended: bool
    ) -> tuple[Sequence[Line], bool]:
        """The lines from a place on, and whether they are all that the attempt has now."""
        size = await self.core.logs.size(attempt.log_id, at_least=attempt.log_bytes or 0)
        frames = await self.core.logs.frames(attempt.log_id, place.offset, READ_BYTES)
        end = frames[-1].offset + len(frames[-1].frame.data) if frames else place.offset
        at_end = end >= size
        run = [(one.offset, one.frame) for one in frames]
        return lines_of(run, ended=ended and at_end), at_end


def _begin(step: Step) -> datetime | None:
    """Nothing of the step is older; None where it has not begun."""
    return step.started_at or step.finished_at


def _check_step(view: View, wanted: Filter) -> None:
    names = [step.name for step in view.steps]
    if wanted.step is not None and wanted.step not in names:
        raise Invalid(
            f"this build has no step {wanted.step[:100]!r}",
            details=[{"path": "step", "message": f"one of {', '.join(names[:50])}"}],
        )


def _entries(
    position: int, step: Step, attempt: Attempt, place: Place, lines: Sequence[Line]
) -> list[Entry]:
    known = {"step": step.name, "attempt": str(attempt.number)}
    if step.written.image is not None:
        known["container"] = step.written.image
    metadata = {
        Level.INFO: {**known, "stream": "stdout"},
        Level.WARN: {**known, "stream": "stderr"},
    }
    return [
        Entry(
            position=position,
            line=line,
            metadata=metadata[line.level],
            place=Place(attempt=place.attempt, offset=line.end),
        )
        for line in lines
    ]


def _end_of(position: int, step: Step) -> Entry:
    line, metadata = event_of_step(step)
    return Entry(position=position, line=line, metadata=metadata, place=None)


def _last_entries(view: View, position: int, cursor: Cursor) -> Sequence[Entry]:
    """Of the build itself: why it has no steps, and how it ended."""
    events = events_of_build(view.build)
    seen = cursor.place(position).offset
    return [
        Entry(
            position=position,
            line=line,
            metadata=metadata,
            place=None if index == len(events) else Place(offset=index),
        )
        for index, (line, metadata) in enumerate(events, start=1)
        if index > seen
    ]


def _chosen(
    entries: Sequence[Entry], cursor: Cursor, wanted: Filter, limit: int
) -> tuple[Sequence[Message], Cursor, bool]:
    """At most `limit` messages, where they end, and whether every entry was looked at."""
    messages: list[Message] = []
    writer = CursorWriter(cursor)
    for entry in entries:
        if len(messages) == limit:
            return messages, writer.end, False
        writer.move(entry.position, entry.place)
        if wanted.admits(entry):
            messages.append(_message(entry, str(writer)))
    return messages, writer.end, True


def _message(entry: Entry, cursor: str) -> Message:
    return Message(
        text=entry.line.text,
        level=entry.line.level,
        time=entry.line.time,
        metadata={**entry.metadata, "cursor": cursor},
    )
