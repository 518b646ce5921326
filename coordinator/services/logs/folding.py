"""Folding the logs of attempts that have ended, in the background and a few at a time.

A log that ended with a crash, before it was folded, is found by what the database has of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import structlog

from coordinator.domain.model import AttemptState
from coordinator.services.core import Core
from coordinator.services.deletion_pause import deleting
from coordinator.storage.database import DatabaseClosed
from coordinator.storage.steps import folded_logs as stored
from coordinator.storage.steps.folded_logs import OpenLog
from coordinator.storage.trouble import tell_fault

log = structlog.get_logger()

AT_ONCE = 4
PAGE = 500
DRAIN_SECONDS = 10.0
LOST_FOR = timedelta(hours=1)
"""So long an agent may come back with lines of a lost attempt before they leave the database."""


@dataclass(slots=True)
class Folding:
    """What fails is tried again by the next look, within the hour."""

    core: Core
    _gate: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    _running: set[asyncio.Task[None]] = field(default_factory=set)
    _sent: list[Collection[str]] = field(default_factory=list)

    def soon(self, attempt_id: str) -> None:
        """Its attempt has ended, and nothing comes any more."""
        task = asyncio.create_task(self._fold(attempt_id), name=f"fold {attempt_id}")
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    @contextmanager
    def sparing(self, attempt_ids: Collection[str]) -> Iterator[None]:
        """While the logs of attempts are stored that the database gets only after them; more may be
        added meanwhile. Those that it has got by the end, or never gets, need no sparing."""
        self._sent.append(attempt_ids)
        try:
            yield
        finally:
            # Not by `remove`, which takes what is equal for the same.
            self._sent[:] = [one for one in self._sent if one is not attempt_ids]

    async def drain(self) -> None:
        if self._running:
            await asyncio.wait(self._running, timeout=DRAIN_SECONDS)

    async def fold_what_is_left(self) -> None:
        """What a crash, or a store that did not answer, has left; and bring what the database has
        of lost attempts into the store."""
        after = ""
        while found := await self.core.database.read(
            lambda connection: stored.open_logs(connection, after, PAGE)  # noqa: B023
        ):
            after = found[-1].attempt_id
            await self._go_on(found)

    async def _go_on(self, logs: Sequence[OpenLog]) -> None:
        for one in logs:
            if one.state is None:
                await self._delete(one.attempt_id)
            elif one.state is AttemptState.RUNNING:
                continue
            elif one.log_bytes is not None:
                await self._fold(one.attempt_id)
            elif one.finished_at is None or one.finished_at < self.core.now() - LOST_FOR:
                await self._flush(one.attempt_id)

    async def _fold(self, attempt_id: str) -> None:
        async with self._gate:
            try:
                size = await self.core.logs.close(attempt_id)
                if size is not None:
                    await self.core.database.write(
                        lambda connection: stored.note_folded(connection, attempt_id, size)
                    )
            except DatabaseClosed:
                return  # we end: the next look, of whoever leads, goes on
            except Exception as error:  # a task root: the log stays readable as it is
                tell_fault(log, "folding a log failed", error, attempt=attempt_id)

    async def _flush(self, attempt_id: str) -> None:
        try:
            await self.core.logs.flush(attempt_id)
        except Exception as error:  # one log must not keep the others from it
            tell_fault(log, "storing a lost attempt's log failed", error, attempt=attempt_id)

    async def _delete(self, attempt_id: str) -> None:
        """Of an attempt that is no more: it was deleted while a line of it was on its way."""
        # One that was spared when it was looked for may have come since, and is spared no longer.
        if any(attempt_id in some for some in self._sent) or await self.core.database.read(
            lambda connection: stored.has_attempt(connection, attempt_id)
        ):
            return
        with deleting(self.core.settings.data) as may:
            if may:
                await self.core.logs.delete(attempt_id)
