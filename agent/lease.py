"""The leases an agent holds, and the arithmetic of keeping them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from pipelines_schema.contract import LeaseRef

Work = TypeVar("Work")

FIRST_RETRY_SECONDS = 0.2
LONGEST_RETRY_SECONDS = 5.0
RENEWALS_PER_LEASE = 3
MOST_MARGIN_SECONDS = 3.0
LONGEST_TICK_SECONDS = 1.0
"""Timers stand still while the machine sleeps, so a moment is looked for at least so often."""

Deadline = float
"""A moment of the boot clock."""


def retry_delay_seconds(
    failures: int, random: float, longest_seconds: float = LONGEST_RETRY_SECONDS
) -> float:
    """The pause after the n-th failure in a row (from 1): doubling from 0.2 s, half of it jitter.

    `random` is in [0, 1). Jitter keeps a hundred agents from returning in the same instant.
    """
    longest = min(longest_seconds, FIRST_RETRY_SECONDS * 2.0 ** min(failures - 1, 10))
    return longest * (0.5 + random / 2)


def boot_clock() -> float:
    """Seconds since the machine started, those in which it slept included.

    The coordinator's clock goes on while this machine is suspended, so ours must, too.
    """
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def renew_every_seconds(lease_seconds: float) -> float:
    return lease_seconds / RENEWALS_PER_LEASE


def renewal_wait_seconds(*, last_renewed: float, every: float, now: float) -> float:
    """How long until the leases are to be renewed again; times of one clock."""
    return max(0.0, last_renewed + every - now)


def margin_seconds(lease_seconds: float) -> float:
    """How long before the lease's end a script is ended: the time that killing it may take."""
    return min(MOST_MARGIN_SECONDS, lease_seconds / 6)


class Term:
    """Until when an attempt may run. Each renewal moves it on, and whoever follows it is told.

    It counts from when the call was *sent* that the coordinator answered: the coordinator counts
    from when it heard of us, which is later, so our end comes before its own, whatever the network
    does with the answer.
    """

    def __init__(self, *, lease_seconds: float, sent_at: float) -> None:
        self._lease_seconds = lease_seconds
        self._ends_at = self._end(sent_at)
        self._followers: list[Callable[[Deadline], None]] = []

    @property
    def margin_seconds(self) -> float:
        return margin_seconds(self._lease_seconds)

    @property
    def ends_at(self) -> Deadline:
        return self._ends_at

    def renew(self, *, sent_at: float, now: float) -> None:
        """What is over stays over: an answer that was late says nothing of who runs the step."""
        ends_at = self._end(sent_at)
        if now < self._ends_at < ends_at:
            self._ends_at = ends_at
            for follower in tuple(self._followers):
                follower(ends_at)

    async def over(self) -> None:
        """Return once it has ended."""
        while (left := self._ends_at - boot_clock()) > 0:  # noqa: ASYNC110 - a clock tells no event
            await asyncio.sleep(min(left, LONGEST_TICK_SECONDS))

    def follow(self, follower: Callable[[Deadline], None]) -> Callable[[], None]:
        """Have later ends told; returns what stops that."""
        self._followers.append(follower)
        return lambda: self._followers.remove(follower)

    def _end(self, sent_at: float) -> Deadline:
        return sent_at + self._lease_seconds - self.margin_seconds


class LeaseTable(Generic[Work]):
    """What the agent holds: for each lease, the work that is done under it.

    A lease that could not be renewed stays here: its script is ended at its term's end, and what is
    left, the log and the report, is presented again when the coordinator is back. Only the
    coordinator's word (lost, stale, completed) removes it.
    """

    def __init__(self) -> None:
        self._held: dict[tuple[str, int], Work] = {}

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[Work]:
        return iter(tuple(self._held.values()))

    def __contains__(self, lease: LeaseRef) -> bool:
        return (lease.step_id, lease.epoch) in self._held

    def hold(self, lease: LeaseRef, work: Work) -> None:
        self._held[lease.step_id, lease.epoch] = work

    def find(self, lease: LeaseRef) -> Work | None:
        """The work under exactly this epoch: an older or newer hand-out is another lease."""
        return self._held.get((lease.step_id, lease.epoch))

    def release(self, lease: LeaseRef) -> None:
        self._held.pop((lease.step_id, lease.epoch), None)

    def refs(self) -> list[LeaseRef]:
        return [LeaseRef(step_id=step_id, epoch=epoch) for step_id, epoch in self._held]
