"""The states of builds and steps, as tables; every other (state, event) is an illegal move.

A step that was handed out carries an epoch, its fencing token: +1 for each hand-out. Whoever speaks
for a step must name the epoch it was given; an older one is stale, whatever it says.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from pipelines_schema.contract import StepStatus


class BuildState(StrEnum):
    HELD = "held"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class StepState(StrEnum):
    BLOCKED = "blocked"
    RESOLVING = "resolving"
    """All it depends on has ended; what that means for it is being worked out."""
    READY = "ready"
    OFFERED = "offered"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"
    IN_LINE = "in-line"
    """For a place in its group: for `concurrency`."""
    WAITING = "waiting"
    """For somebody's approval, not for an agent."""
    DELAYED = "delayed"
    """Between two attempts: for the time at which it may be queued again."""


class BuildEvent(StrEnum):
    START = "start"
    BEGIN = "begin"
    SUCCEED = "succeed"
    FAIL = "fail"
    CANCEL = "cancel"


class StepEvent(StrEnum):
    UNBLOCK = "unblock"
    LINE_UP = "line-up"
    PLACE = "place"
    """There is a place in its group."""
    ASK = "ask"
    """For an approval."""
    RESOLVE = "resolve"
    OFFER = "offer"
    CLAIM = "claim"
    ACCEPT = "accept"
    EXPIRE = "expire"
    SUCCEED = "succeed"
    FAIL = "fail"
    RETRY = "retry"
    SPLIT = "split"
    """Its image is built in parts, by steps of their own for which it waits."""
    DELAY = "delay"
    """To be tried again, but not at once."""
    CANCEL = "cancel"
    SKIP = "skip"
    REUSE = "reuse"
    """With what an equal step left before."""
    RESUME = "resume"
    """The result of its latest attempt, which was taken for lost, has come after all."""
    GIVE_UP = "give-up"
    """No agent took it, or nobody answered, in time."""


BUILD_TABLE: Mapping[tuple[BuildState, BuildEvent], BuildState] = {
    (BuildState.HELD, BuildEvent.START): BuildState.QUEUED,
    (BuildState.HELD, BuildEvent.CANCEL): BuildState.CANCELLED,
    (BuildState.QUEUED, BuildEvent.BEGIN): BuildState.RUNNING,
    # Every step that might fail was given up before it began.
    (BuildState.QUEUED, BuildEvent.SUCCEED): BuildState.SUCCEEDED,
    (BuildState.QUEUED, BuildEvent.FAIL): BuildState.FAILED,
    (BuildState.QUEUED, BuildEvent.CANCEL): BuildState.CANCELLED,
    (BuildState.RUNNING, BuildEvent.SUCCEED): BuildState.SUCCEEDED,
    (BuildState.RUNNING, BuildEvent.FAIL): BuildState.FAILED,
    (BuildState.RUNNING, BuildEvent.CANCEL): BuildState.CANCELLED,
}

STEP_TABLE: Mapping[tuple[StepState, StepEvent], StepState] = {
    (StepState.BLOCKED, StepEvent.UNBLOCK): StepState.READY,
    (StepState.BLOCKED, StepEvent.ASK): StepState.WAITING,
    (StepState.BLOCKED, StepEvent.LINE_UP): StepState.IN_LINE,
    (StepState.BLOCKED, StepEvent.SKIP): StepState.SKIPPED,
    (StepState.BLOCKED, StepEvent.FAIL): StepState.FAILED,
    (StepState.BLOCKED, StepEvent.CANCEL): StepState.CANCELLED,
    (StepState.BLOCKED, StepEvent.REUSE): StepState.SUCCEEDED,
    (StepState.RESOLVING, StepEvent.REUSE): StepState.SUCCEEDED,
    (StepState.RUNNING, StepEvent.REUSE): StepState.SUCCEEDED,
    (StepState.IN_LINE, StepEvent.PLACE): StepState.READY,
    (StepState.IN_LINE, StepEvent.RESUME): StepState.RUNNING,
    (StepState.IN_LINE, StepEvent.CANCEL): StepState.CANCELLED,
    (StepState.WAITING, StepEvent.SUCCEED): StepState.SUCCEEDED,
    (StepState.WAITING, StepEvent.FAIL): StepState.FAILED,
    (StepState.WAITING, StepEvent.GIVE_UP): StepState.FAILED,
    (StepState.WAITING, StepEvent.CANCEL): StepState.CANCELLED,
    (StepState.BLOCKED, StepEvent.RESOLVE): StepState.RESOLVING,
    (StepState.RESOLVING, StepEvent.UNBLOCK): StepState.READY,
    (StepState.RESOLVING, StepEvent.LINE_UP): StepState.IN_LINE,
    (StepState.RESOLVING, StepEvent.ASK): StepState.WAITING,
    (StepState.RESOLVING, StepEvent.SKIP): StepState.SKIPPED,
    (StepState.RESOLVING, StepEvent.FAIL): StepState.FAILED,
    (StepState.RESOLVING, StepEvent.CANCEL): StepState.CANCELLED,
    (StepState.READY, StepEvent.OFFER): StepState.OFFERED,
    (StepState.READY, StepEvent.CLAIM): StepState.RUNNING,
    (StepState.READY, StepEvent.RESUME): StepState.RUNNING,
    (StepState.READY, StepEvent.GIVE_UP): StepState.FAILED,
    (StepState.READY, StepEvent.CANCEL): StepState.CANCELLED,
    (StepState.OFFERED, StepEvent.ACCEPT): StepState.RUNNING,
    (StepState.OFFERED, StepEvent.EXPIRE): StepState.READY,
    (StepState.OFFERED, StepEvent.CANCEL): StepState.CANCELLED,
    (StepState.RUNNING, StepEvent.SUCCEED): StepState.SUCCEEDED,
    (StepState.RUNNING, StepEvent.FAIL): StepState.FAILED,
    (StepState.RUNNING, StepEvent.RETRY): StepState.READY,
    (StepState.RUNNING, StepEvent.SPLIT): StepState.BLOCKED,
    (StepState.RUNNING, StepEvent.LINE_UP): StepState.IN_LINE,
    (StepState.RUNNING, StepEvent.DELAY): StepState.DELAYED,
    (StepState.RUNNING, StepEvent.CANCEL): StepState.CANCELLED,
    (StepState.DELAYED, StepEvent.UNBLOCK): StepState.READY,
    (StepState.DELAYED, StepEvent.LINE_UP): StepState.IN_LINE,
    (StepState.DELAYED, StepEvent.RESUME): StepState.RUNNING,
    (StepState.DELAYED, StepEvent.CANCEL): StepState.CANCELLED,
}

FINISHED_BUILD = frozenset({BuildState.SUCCEEDED, BuildState.FAILED, BuildState.CANCELLED})
FINISHED_STEP = frozenset(
    {StepState.SUCCEEDED, StepState.FAILED, StepState.CANCELLED, StepState.SKIPPED}
)
HAS_A_PLACE = frozenset({StepState.READY, StepState.OFFERED, StepState.RUNNING})
"""In its group, if it is in one."""

SHOWN_AS: Mapping[StepState, StepStatus] = {
    StepState.BLOCKED: StepStatus.BLOCKED,
    StepState.IN_LINE: StepStatus.BLOCKED,
    StepState.WAITING: StepStatus.BLOCKED,
    StepState.RESOLVING: StepStatus.BLOCKED,
    StepState.DELAYED: StepStatus.BLOCKED,
    StepState.READY: StepStatus.READY,
    StepState.OFFERED: StepStatus.READY,
    StepState.RUNNING: StepStatus.RUNNING,
    StepState.SUCCEEDED: StepStatus.SUCCESS,
    StepState.FAILED: StepStatus.FAILED,
    StepState.CANCELLED: StepStatus.CANCELLED,
    StepState.SKIPPED: StepStatus.SKIPPED,
}


class IllegalTransition(Exception):
    """An event that the table doesn't allow in this state."""

    def __init__(self, thing: str, state: StrEnum, event: StrEnum) -> None:
        super().__init__(f"a {state.value} {thing} can't {event.value}")
        self.thing, self.state, self.event = thing, state, event


def advance_build(state: BuildState, event: BuildEvent) -> BuildState:
    return _advance(BUILD_TABLE, "build", state, event)


def advance_step(state: StepState, event: StepEvent) -> StepState:
    return _advance(STEP_TABLE, "step", state, event)


S = TypeVar("S", bound=StrEnum)
E = TypeVar("E", bound=StrEnum)


def _advance(table: Mapping[tuple[S, E], S], thing: str, state: S, event: E) -> S:
    try:
        return table[state, event]
    except KeyError:
        raise IllegalTransition(thing, state, event) from None
