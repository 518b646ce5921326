"""The leases an agent holds, and the arithmetic of keeping them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

from pipelines_schema.contract import RENEW_EVERY_SECONDS, LeaseRef

Work = TypeVar("Work")

FIRST_RETRY_SECONDS = 0.2
LONGEST_RETRY_SECONDS = 5.0


def retry_delay_seconds(failures: int, random: float) -> float:
    """The pause after the n-th failure in a row (from 1): doubling, 0.2 to 5 s, half of it jitter.

    `random` is in [0, 1). Jitter keeps a hundred agents from returning in the same instant.
    """
    longest = min(LONGEST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2.0 ** min(failures - 1, 10))
    return longest * (0.5 + random / 2)


def renewal_wait_seconds(*, last_renewed: float, now: float) -> float:
    """How long until the leases are to be renewed again; times of one monotonic clock."""
    return max(0.0, last_renewed + RENEW_EVERY_SECONDS - now)


class LeaseTable(Generic[Work]):
    """What the agent holds: for each lease, the work that is done under it.

    A lease that could not be renewed stays here: its work goes on and is presented again when the
    coordinator is back. Only the coordinator's word (lost, stale, completed) removes it.
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
