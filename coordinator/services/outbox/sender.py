"""The outbox is emptied in the background: at least once, and in the order of each stream.

Of a stream (a commit and a context, at one recipient) one message is under way at a time, and only
the last state is sent: earlier ones that still wait are superseded by it. Nothing of this is in
memory alone but who is left in peace for a while: a restart asks each of those once more.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

import structlog

from coordinator.domain.model import Project
from coordinator.domain.outbox.calls import GONE, Answered, Outcome, is_given_up, pause
from coordinator.domain.outbox.messages import DueMessage, Message, MessageState, RecipientKind
from coordinator.domain.outbox.recipients import Recipient
from coordinator.services.core import Core
from coordinator.services.news import wait_for
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.outbox import messages as stored
from coordinator.storage.outbox.recipients import find_recipient
from coordinator.storage.projects.projects import find_project
from coordinator.storage.trouble import tell_fault

log = structlog.get_logger()

OF_A_RECIPIENT_AT_ONCE = 4
"""And one, while it is in trouble: it is asked, not stormed."""
OF_A_PROJECT_AT_ONCE = 8
"""Whatever its recipients are: whoever names servers that stall holds up their own project."""
AT_ONCE = 128
"""Of each kind: neither a mail server nor people's webhooks hold up statuses."""
LOOKED_AT = 64
LOOK_AT_LEAST_EVERY_SECONDS = 3600.0


class Delivery(Protocol):
    """How messages of one kind of recipient leave."""

    async def deliver(
        self, message: Message, recipient: Recipient | None, project: Project
    ) -> Outcome: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ready:
    """A message with what it takes to send it."""

    message: Message
    last: bool
    """Of its stream: else there is something newer to say."""
    recipient: Recipient | None
    project: Project | None


@dataclass(slots=True)
class Sender:
    core: Core
    deliveries: Mapping[RecipientKind, Delivery]
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _busy: set[tuple[str, str]] = field(default_factory=set)
    """Streams of which a message is under way."""
    _under_way: Counter[str] = field(default_factory=Counter)
    """By recipient."""
    _of_projects: Counter[str] = field(default_factory=Counter)
    """Under way, by project."""
    _failures: Counter[str] = field(default_factory=Counter)
    """In a row, by recipient."""
    _paused: dict[str, datetime] = field(default_factory=dict)
    """Recipients that are left in peace, and until when."""
    _slots: Mapping[RecipientKind, asyncio.Semaphore] = field(
        default_factory=lambda: {kind: asyncio.Semaphore(AT_ONCE) for kind in RecipientKind}
    )

    def wake(self) -> None:
        self._wake.set()

    def released(self, recipient_id: str) -> None:
        """Somebody mended something: it is tried at once."""
        self._paused.pop(recipient_id, None)
        self._failures.pop(recipient_id, None)
        self.wake()

    async def run(self) -> None:
        """Send what waits, from before a restart too, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._wake.clear()
                try:
                    seconds = await self._begin_due(tasks)
                except Exception as error:  # a task root: the outbox outlives a database in trouble
                    tell_fault(log, "reading the outbox failed", error)
                    seconds = 1.0
                await wait_for(self._wake, seconds)

    async def _begin_due(self, tasks: asyncio.TaskGroup) -> float:
        """How long there is nothing to do, unless somebody wakes us."""
        now = self.core.now()
        self._paused = {one: until for one, until in self._paused.items() if until > now}
        while True:
            due, next_at = await self._due(now)
            begun = [message for message in due if self._begin(tasks, message)]
            if len(due) < LOOKED_AT or not begun:
                break
        times = [*self._paused.values(), *([next_at] if next_at else [])]
        if not times:
            return LOOK_AT_LEAST_EVERY_SECONDS
        seconds = (min(times) - self.core.now()).total_seconds()
        return min(max(seconds, 0.0), LOOK_AT_LEAST_EVERY_SECONDS)

    async def _due(self, now: datetime) -> tuple[Sequence[DueMessage], datetime | None]:
        full = {one for one, count in self._under_way.items() if count >= self._most(one)}
        busy = {one for one, count in self._of_projects.items() if count >= OF_A_PROJECT_AT_ONCE}

        async def read(
            connection: AsyncConnection,
        ) -> tuple[Sequence[DueMessage], datetime | None]:
            but_for = full | self._paused.keys()
            due = await stored.due_messages(
                connection, now, LOOKED_AT, but_for=but_for, but_for_projects=busy
            )
            return due, await stored.next_due(connection, now)

        return await self.core.database.read(read)

    def _most(self, recipient_id: str) -> int:
        return 1 if recipient_id in self._failures else OF_A_RECIPIENT_AT_ONCE

    def _begin(self, tasks: asyncio.TaskGroup, due: DueMessage) -> bool:
        """Whether it is under way now."""
        recipient_id = due.recipient_id
        if (
            due.place in self._busy
            or self._under_way[recipient_id] >= self._most(recipient_id)
            or self._of_projects[due.project_id] >= OF_A_PROJECT_AT_ONCE
        ):
            return False
        self._busy.add(due.place)
        self._under_way[recipient_id] += 1
        self._of_projects[due.project_id] += 1
        tasks.create_task(self._send_one(due), name=f"message {due.id}")
        return True

    async def _send_one(self, due: DueMessage) -> None:
        try:
            async with self._slots[due.kind]:
                await self._send(due)
        except Exception as error:  # a task root: the others go on, and this one comes again
            tell_fault(log, "sending failed", error, message=due.id)
            await asyncio.sleep(1)
        finally:
            self._busy.discard(due.place)
            _count_down(self._under_way, due.recipient_id)
            _count_down(self._of_projects, due.project_id)
            self.wake()

    async def _send(self, due: DueMessage) -> None:
        ready = await self.core.database.read(lambda connection: _ready(connection, due))
        if ready is None:
            return
        message = ready.message
        if not ready.last:
            await self._end_alone(message, MessageState.SUPERSEDED, None)
            return
        outcome = await self._deliver(ready)
        self.core.meter.message_tried(message.kind.value, outcome.answered.value)
        match outcome.answered:
            case Answered.TAKEN:
                self._failures.pop(message.recipient_id, None)
                await self._taken(message, outcome)
            case Answered.NEEDLESS:
                await self._end_alone(message, MessageState.SUPERSEDED, outcome.reason)
            case _:
                await self._not_taken(message, outcome)

    async def _deliver(self, ready: _Ready) -> Outcome:
        if ready.project is None:
            return GONE
        try:
            delivery = self.deliveries[ready.message.kind]
            return await delivery.deliver(ready.message, ready.recipient, ready.project)
        except Exception as error:  # a fault of ours must neither hold up others nor come for ever
            tell_fault(log, "a message can't be sent", error, message=ready.message.id)
            reason = "the coordinator made a mistake: its log tells"
            return Outcome(answered=Answered.REFUSED, reason=reason)

    async def _taken(self, message: Message, outcome: Outcome) -> None:
        async def save(connection: AsyncConnection) -> None:
            await self._end(connection, message, MessageState.SENT, outcome.reason)
            await stored.supersede(connection, message, self.core.now())

        await self.core.database.write(save)

    async def _not_taken(self, message: Message, outcome: Outcome) -> None:
        now, attempts = self.core.now(), message.attempts + 1
        if outcome.answered is Answered.BUSY:
            next_at = self._leave_in_peace(message.recipient_id, outcome, now)
        else:
            next_at = now + pause(attempts)
        given_up = is_given_up(outcome, attempts, message.tried_since, now)
        log.warning(
            "not sent",
            message=message.id,
            project=message.project_id,
            reason=outcome.reason,
            attempts=attempts,
            given_up=given_up,
        )

        async def save(connection: AsyncConnection) -> None:
            if given_up:
                await self._end(connection, message, MessageState.DEAD, outcome.reason)
                return
            await stored.update_message(
                connection,
                message.id,
                attempts=attempts,
                reason=outcome.reason,
                next_try_at=next_at,
            )

        await self.core.database.write(save)

    def _leave_in_peace(self, recipient_id: str, outcome: Outcome, now: datetime) -> datetime:
        """Until when. Several that were under way at once are one failure."""
        until = self._paused.get(recipient_id)
        if until is None or until <= now:
            self._failures[recipient_id] += 1
            until = now + pause(self._failures[recipient_id])
        if outcome.wait is not None:
            until = max(until, now + outcome.wait)
        self._paused[recipient_id] = until
        return until

    async def _end_alone(self, message: Message, state: MessageState, reason: str | None) -> None:
        await self.core.database.write(
            lambda connection: self._end(connection, message, state, reason)
        )

    async def _end(
        self,
        connection: AsyncConnection,
        message: Message,
        state: MessageState,
        reason: str | None,
    ) -> None:
        await stored.update_message(
            connection,
            message.id,
            state=state.value,
            reason=reason,
            attempts=message.attempts + (state is not MessageState.SUPERSEDED),
            next_try_at=None,
            finished_at=self.core.now(),
        )


def _count_down(counter: Counter[str], name: str) -> None:
    counter[name] -= 1
    if not counter[name]:
        del counter[name]


async def _ready(connection: AsyncConnection, due: DueMessage) -> _Ready | None:
    """None where somebody else ended it meanwhile."""
    message = await stored.get_message(connection, due.id)
    if message is None or message.state is not MessageState.WAITING:
        return None
    last = await stored.last_of_stream(connection, message)
    return _Ready(
        message=message,
        last=last is not None and last.id == message.id,
        recipient=await find_recipient(connection, message.recipient_id),
        project=await find_project(connection, message.project_id),
    )
