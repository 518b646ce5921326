"""What a transaction brings about besides what it was for, told once it is committed: a step that
fails may end others, a build that ends may let another begin."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass

from coordinator.domain.lifecycle import StepState
from coordinator.domain.model import Build, Step
from coordinator.storage.connection import AsyncConnection

Cancelled = Callable[[str, Collection[str]], None]
Ended = Callable[[str], None]
Moved = Callable[[AsyncConnection, Build], Awaitable[None]]
GatesWait = Callable[[AsyncConnection, Build, Sequence[Step], bool], Awaitable[None]]
StepsAdded = Callable[[AsyncConnection, Build, Sequence[Step]], Awaitable[None]]
StepMoved = Callable[[AsyncConnection, Step, StepState], Awaitable[None]]


def _to_nobody(*_: object) -> None:
    """Nothing is dispatched yet."""


async def _by_nobody(*_: object) -> None:
    """Nothing is told to others."""


@dataclass(slots=True)
class Announcements:
    """Whom to tell. The dispatch enters itself; before that there is nobody who would act."""

    cancelled: Cancelled = _to_nobody
    """A build's id, and the ids of its steps that were spared: its agents are to be told."""
    ready: Callable[[], None] = _to_nobody
    """Steps have become ready."""
    resolving: Callable[[], None] = _to_nobody
    """The dependencies of steps have ended that are resolved only then."""
    begun: Callable[[], None] = _to_nobody
    """A build has begun that has a timeout."""
    ended: Ended = _to_nobody
    """A build has ended: its id."""
    scheduled: Callable[[], None] = _to_nobody
    """A default branch was read: there may be other schedules."""
    succeeded: Moved = _by_nobody
    """Part of the transaction in which a build succeeds that starts others: the build."""
    moved: Moved = _by_nobody
    """Part of the transaction in which a build that tells others comes to another state: the build
    as it is then."""
    gates_wait: GatesWait = _by_nobody
    """As `moved`: steps of the build wait for an approval, the last of which has just asked, or
    (False) was there before."""
    steps_added: StepsAdded = _by_nobody
    """As `moved`: the build has these steps, which are told."""
    step_moved: StepMoved = _by_nobody
    """As `moved`, of a step that is told: as it is then, and its state before."""
