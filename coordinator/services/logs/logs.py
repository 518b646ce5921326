"""Logs: appended at acknowledged offsets, followed live, closed by length and digest."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from coordinator.domain.errors import Invalid, LogIncomplete, NotFound, StaleEpoch, TooLarge
from coordinator.domain.model import Attempt, AttemptState, Step
from coordinator.domain.people.permissions import Principal
from coordinator.object_ports import LogClosed, LogDigest, OffsetMismatch
from coordinator.services.core import Core
from coordinator.services.news import build_topic, log_topic, wait_for
from coordinator.storage.steps import attempts as stored_attempts
from coordinator.storage.steps import steps as stored_steps
from pipelines_schema.log_frames import Frame

SLICE_MAX_BYTES = 4 * 1024 * 1024
EMPTY = LogDigest(size=0, sha256=hashlib.sha256().hexdigest())
LOG_GONE = "this log was deleted, as the limits of retention say"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSlice:
    data: bytes
    offset: int
    attempt: int
    """0 where the step was never tried."""
    complete: bool
    """The attempt has ended and `data` reaches the end of its log."""
    size: int
    """Bytes of the log stored so far."""


@dataclass(frozen=True, slots=True)
class Logs:
    core: Core

    async def append(self, attempt: Attempt, offset: int, frames: Sequence[Frame]) -> int:
        """Store a chunk of an attempt that nobody has ended; return the acknowledged size.

        Raises StaleEpoch, LogIncomplete (with the right offset), TooLarge.
        """
        if attempt.state is not AttemptState.RUNNING and not _was_only_lost(attempt):
            raise StaleEpoch("this attempt has ended")
        size = sum(len(frame.data) for frame in frames)
        if offset + size > self.core.settings.max_log_bytes:
            await self._check_offset(attempt, offset)
            raise TooLarge(f"a log may hold {self.core.settings.max_log_bytes} bytes")
        if size == 0:
            return await self._check_offset(attempt, offset)
        try:
            end = await self.core.logs.append(attempt.id, offset, frames)
        except LogClosed as error:
            raise StaleEpoch("this attempt's log was closed") from error
        except OffsetMismatch as error:
            raise LogIncomplete(str(error), error.expected) from error
        self.core.meter.log_stored(size)
        self.core.news.publish(log_topic(attempt.id))
        return end

    async def _check_offset(self, attempt: Attempt, offset: int) -> int:
        size = await self.core.logs.size(attempt.id)
        if size != offset:
            raise LogIncomplete(f"the log is acknowledged up to byte {size}", size)
        return size

    async def check_whole(self, attempt_id: str, size: int | None, sha256: str | None) -> LogDigest:
        """The digest of what is stored, if it is what the sender says it sent.

        Raises LogIncomplete where bytes are missing, Invalid where they differ.
        """
        digest = await self.core.logs.digest(attempt_id, sent_bytes=size)
        if size is not None and digest.size < size:
            raise LogIncomplete(
                f"{digest.size} of the log's {size} bytes are acknowledged", digest.size
            )
        if (size is not None and digest.size > size) or (sha256 not in (None, digest.sha256)):
            raise Invalid(
                f"the log stored ({digest.size} bytes, sha256 {digest.sha256}) is not the one "
                f"completed ({size} bytes, sha256 {sha256})"
            )
        return digest

    async def read(
        self,
        principal: Principal,
        step_id: str,
        *,
        attempt_number: int | None,
        offset: int,
        wait_seconds: float,
        max_bytes: int = SLICE_MAX_BYTES,
    ) -> LogSlice:
        """From `offset`, held until there is a byte, the log is complete or the time is over."""
        until = time.monotonic() + wait_seconds
        while True:
            step, attempt = await self._find(principal, step_id, attempt_number)
            topics = [build_topic(step.build_id)]
            if attempt is not None:
                attempt_number = attempt.number  # stay with it when the step is tried once more
                topics.append(log_topic(attempt.log_id))
            with self.core.news.listen(*topics) as moved:
                step, attempt = await self._find(principal, step_id, attempt_number)
                slice_ = await self._slice(step, attempt, offset, max_bytes)
                left = until - time.monotonic()
                if slice_.data or slice_.complete or left <= 0 or self.core.news.closing:
                    return slice_
                await wait_for(moved, left)

    async def read_lines(
        self,
        principal: Principal,
        step_id: str,
        *,
        attempt_number: int | None,
        first: int,
        count: int,
    ) -> LogSlice:
        """`count` lines from the one with that number, the first being 0; none beyond the end."""
        step, attempt = await self._find(principal, step_id, attempt_number)
        if attempt is None:
            return await self._slice(step, attempt, 0, 0)
        await self.core.logs.size(attempt.log_id, at_least=attempt.log_bytes or 0)
        found = await self.core.logs.lines(attempt.log_id, first, count, SLICE_MAX_BYTES)
        rest = await self._slice(step, attempt, found.offset + len(found.data), 0)
        return replace(rest, data=found.data, offset=found.offset)

    async def _slice(
        self, step: Step, attempt: Attempt | None, offset: int, max_bytes: int
    ) -> LogSlice:
        if attempt is None:
            complete = step.finished_at is not None
            return LogSlice(data=b"", offset=offset, attempt=0, complete=complete, size=0)
        # The state was read before the bytes: an ended attempt's log can't grow any more.
        ended = attempt.state is not AttemptState.RUNNING
        # The size first: it is asked of the database, for another coordinator may have added to it.
        size = await self.core.logs.size(attempt.log_id, at_least=attempt.log_bytes or 0)
        data = await self.core.logs.read(attempt.log_id, offset, max_bytes)
        if ended and size == 0 and attempt.log_bytes:
            raise NotFound(LOG_GONE)
        return LogSlice(
            data=data,
            offset=offset,
            attempt=attempt.number,
            complete=ended and offset + len(data) >= size,
            size=size,
        )

    async def _find(
        self, principal: Principal, step_id: str, number: int | None
    ) -> tuple[Step, Attempt | None]:
        step = await self.core.database.read(
            lambda connection: stored_steps.find_step(connection, step_id)
        )
        if step is None or not principal.sees(step.account_id):
            raise NotFound("step not found")
        attempts = await self.core.database.read(
            lambda connection: stored_attempts.attempts_of_step(connection, step_id)
        )
        if number is None:
            return step, attempts[-1] if attempts else None
        found = next((attempt for attempt in attempts if attempt.number == number), None)
        if found is None:
            raise NotFound(f"this step has no attempt {number}")
        return step, found


def _was_only_lost(attempt: Attempt) -> bool:
    """Nobody has said how its log ends: what comes late is kept, whatever becomes of the step."""
    return attempt.state is AttemptState.LOST and attempt.log_bytes is None
