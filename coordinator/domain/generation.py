"""Lives of one installation: each restore from a backup begins a new one. No clock, no I/O.

What was handed out after the backup was made is not in it. A step that is handed out anew would be
given an epoch that somebody out there holds already, so a new generation counts from further on:
where, the minute of its restore says, so that two restores from one backup don't meet either.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

EPOCHS_PER_MINUTE = 256
"""So many times a step would have to be handed out within the first minute of a generation for a
later one to share an epoch with it. Epochs stay below 2^31 until 2041."""
_BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    number: int
    """The first restore makes the second."""
    first_epoch: int
    """Hand-outs of steps that the backup has open have epochs above it."""
    backed_up_at: datetime
    restored_at: datetime
    entered_at: datetime | None = None
    """Since when what was handed out before is settled."""


def first_epoch(restored_at: datetime, *, highest: int) -> int:
    """`highest`: of the epochs that the backup knows."""
    minutes = (restored_at - _BEGINNING) // timedelta(minutes=1)
    return EPOCHS_PER_MINUTE * max(minutes, highest // EPOCHS_PER_MINUTE + 1)
