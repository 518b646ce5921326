"""What a transaction brings about besides what it was for, told once it is committed: a step that
fails may end others, a build that ends may let another begin."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

Cancelled = Callable[[str, Collection[str]], None]


def _to_nobody(*_: object) -> None:
    """Nothing is dispatched yet."""


@dataclass(slots=True)
class Announcements:
    """Whom to tell. The dispatch enters itself; before that there is nobody who would act."""

    cancelled: Cancelled = _to_nobody
    """A build's id, and the ids of its steps that were spared: its agents are to be told."""
    ready: Callable[[], None] = _to_nobody
    """Steps have become ready."""
    begun: Callable[[], None] = _to_nobody
    """A build has begun that has a timeout."""
    scheduled: Callable[[], None] = _to_nobody
    """A default branch was read: there may be other schedules."""
