"""When will a build be done? From what its workflow's steps took before. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from statistics import median

from coordinator.domain.builds.roll_up import StepView, settle, step_view
from coordinator.domain.lifecycle import HAS_A_PLACE, StepState
from coordinator.domain.model import Step
from pipelines_schema import topological_order

_TO_END = frozenset(
    {StepState.RESOLVING, StepState.WAITING, StepState.IN_LINE, StepState.DELAYED, *HAS_A_PLACE}
)
History = Mapping[str, Sequence[timedelta]]
"""Name of a step → how long it took when it succeeded, newest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    current_step: int
    """How many steps have run to their end."""
    total_steps: int
    percentage: int


def progress_of(steps: Sequence[Step], *, succeeded: bool) -> Progress:
    """Steps that never ran are not progress; a build that succeeded is all done nevertheless."""
    ran = sum(map(_ran, steps))
    share = 100 * ran // len(steps) if steps else 0
    return Progress(
        current_step=ran, total_steps=len(steps), percentage=100 if succeeded else share
    )


def _ran(step: Step) -> bool:
    if step.state is StepState.CANCELLED:
        return step.started_at is not None
    return step.state in (StepState.SUCCEEDED, StepState.FAILED)


def estimated_end(steps: Sequence[Step], history: History, now: datetime) -> datetime | None:
    """The end of the longest chain of steps that are still to run, each as long as it usually is.

    What a running step has used is taken off; one that takes longer than usual is expected to end
    now. Steps that only a failure would start are left out. It is taken for granted that an agent
    is free. None where nothing is left to run, or a step of which that is not so never succeeded
    before: a guess that leaves it out would be wrong.
    """
    expected = _expected_names([step_view(step) for step in steps])
    by_name = {step.name: step for step in steps}
    left = {name: by_name[name] for name in expected}
    if not left or any(not history.get(name) for name in left):
        return None
    ends: dict[str, timedelta] = {}
    for name in topological_order(steps):
        before = [ends[one] for one in by_name[name].depends_on if one in ends]
        start = max(before, default=timedelta())
        ends[name] = start + (_left_of(left[name], history[name], now) if name in left else start)
    return now + max(ends[name] for name in left)


def _left_of(step: Step, durations: Sequence[timedelta], now: datetime) -> timedelta:
    usual = timedelta(seconds=median(one.total_seconds() for one in durations))
    if step.state is not StepState.RUNNING or step.started_at is None:
        return usual
    return max(usual - (now - step.started_at), timedelta())


def _expected_names(steps: Sequence[StepView]) -> set[str]:
    """The unfinished steps that run if everything from now on succeeds."""
    expected: set[str] = set()
    while True:
        open_steps = {step.name for step in steps if step.state in _TO_END}
        expected |= open_steps
        imagined = [
            replace(step, state=StepState.SUCCEEDED) if step.name in open_steps else step
            for step in steps
        ]
        settlement = settle(imagined)
        if not settlement.unblocked:
            return expected
        steps = [
            replace(step, state=StepState.READY) if step.id in settlement.unblocked else step
            for step in imagined
        ]
