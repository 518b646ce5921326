"""What follows for a build when its steps move: who is ready, who is skipped, is it over?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from coordinator.domain.lifecycle import FINISHED_STEP, BuildEvent, StepState


@dataclass(frozen=True, slots=True, kw_only=True)
class StepView:
    id: str
    name: str
    state: StepState
    depends_on: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    unblocked: Sequence[str]
    """Ids of blocked steps whose dependencies have all succeeded."""
    skipped: Mapping[str, str]
    """Id of a blocked step → the dependency that did not succeed."""
    finished: BuildEvent | None
    """How the build ends, once every step has ended."""


def settle(steps: Sequence[StepView]) -> Settlement:
    """Follow the consequences to their end, so that one call suffices. Linear in the edges."""
    states = {step.name: step.state for step in steps}
    unblocked: list[str] = []
    skipped: dict[str, str] = {}
    changed = True
    while changed:
        changed = False
        for step in steps:
            if states[step.name] is not StepState.BLOCKED:
                continue
            broken = next(
                (name for name in step.depends_on if _did_not_succeed(states[name])), None
            )
            if broken is not None:
                states[step.name] = StepState.SKIPPED
                skipped[step.id] = broken
                changed = True
            elif all(states[name] is StepState.SUCCEEDED for name in step.depends_on):
                states[step.name] = StepState.READY
                unblocked.append(step.id)
    return Settlement(unblocked=unblocked, skipped=skipped, finished=_finish(list(states.values())))


def _did_not_succeed(state: StepState) -> bool:
    return state in FINISHED_STEP and state is not StepState.SUCCEEDED


def _finish(states: Sequence[StepState]) -> BuildEvent | None:
    if any(state not in FINISHED_STEP for state in states):
        return None
    if StepState.FAILED in states:
        return BuildEvent.FAIL
    if StepState.CANCELLED in states:
        return BuildEvent.CANCEL
    return BuildEvent.SUCCEED
