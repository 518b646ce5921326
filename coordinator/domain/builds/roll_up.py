"""What follows for a build when its steps move: who is ready, who is skipped, is it over?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from coordinator.domain.lifecycle import FINISHED_STEP, BuildEvent, StepState
from coordinator.domain.model import Step
from pipelines_schema import DEFAULT_RUN_ON, Ending, topological_order
from pipelines_schema import Step as WorkflowStep


@dataclass(frozen=True, slots=True, kw_only=True)
class StepView:
    id: str
    name: str
    state: StepState
    depends_on: Sequence[str]
    allow_failure: bool = False
    run_on: Sequence[Ending] = DEFAULT_RUN_ON
    begun: bool = False
    """An agent has had it, whatever became of it."""
    parts: Sequence[str] = ()
    """Of those that it depends on, the steps that build its image in parts."""
    is_part: bool = False


def step_view(step: Step) -> StepView:
    return StepView(
        id=step.id,
        name=step.name,
        state=step.state,
        depends_on=step.depends_on,
        allow_failure=step.written.allow_failure,
        run_on=step.written.run_on,
        begun=step.started_at is not None,
        parts=step.definition.parts,
        is_part=step.definition.part_of is not None,
    )


ITS_TURN = frozenset({StepState.RESOLVING, StepState.READY, StepState.WAITING, StepState.IN_LINE})


def turn_of(written: WorkflowStep) -> StepState:
    """What a step waits for that waits for no other step."""
    if written.resolved_late:
        return StepState.RESOLVING
    if written.concurrency is not None:
        return StepState.IN_LINE
    return StepState.READY if written.approve is None else StepState.WAITING


def spared_by_cancel(steps: Sequence[Step]) -> frozenset[str]:
    """Ids of the build's steps that a first cancel leaves: they are for after it, and one that they
    depend on has begun."""
    begun = {step.name for step in steps if step.started_at is not None}
    return frozenset(
        step.id
        for step in steps
        if Ending.CANCELLED in step.written.run_on and not begun.isdisjoint(step.depends_on)
    )


def ends_with(step: Step, failed: Step, *, whole_build: bool) -> bool:
    """Whether `failFast` ends the step, now that the other one has failed: not what is for after a
    failure or a cancel, and of a matrix's `failFast` its own combinations alone."""
    if step.state in FINISHED_STEP or step.id == failed.id:
        return False
    if step.name == failed.definition.part_of:
        return False  # it fails itself, with its part
    if not {Ending.FAILURE, Ending.CANCELLED}.isdisjoint(step.written.run_on):
        return False
    return whole_build or step.written.matrix_of == failed.written.matrix_of


MAX_REASON_CHARACTERS = 500
_SAYS_LITTLE = frozenset({"condition", "engine", "image", "secrets", "source", "outputs"})
"""Reasons of a step that only its message explains."""


def failure_of_build(steps: Sequence[Step]) -> str | None:
    """`step boom failed: exit code 3`: the first step by position that may not fail and did; of one
    that failed with a part of it, the part."""
    failed = [
        step for step in steps if step.state is StepState.FAILED and not step.written.allow_failure
    ]
    if not failed:
        return None
    names = {step.name for step in failed}
    failed = [step for step in failed if names.isdisjoint(step.definition.parts)]
    step = min(failed, key=lambda one: one.position)
    return _cut(f"step {step.name} {failure_words(step)}")


def failure_words(step: Step) -> str:
    """`failed: exit code 3`, in one line."""
    how = [step.reason, step.message if step.reason in _SAYS_LITTLE else None]
    return _cut(" ".join(": ".join(["failed", *filter(None, how)]).split()))


def _cut(said: str) -> str:
    return said if len(said) <= MAX_REASON_CHARACTERS else said[: MAX_REASON_CHARACTERS - 1] + "…"


def cancel_of_build(steps: Sequence[Step]) -> str | None:
    """`step slow: cancelled by anna`: of a build that nobody cancelled as a whole."""
    cancelled = [step for step in steps if step.state is StepState.CANCELLED and step.reason]
    if not cancelled:
        return None
    step = min(cancelled, key=lambda one: one.position)
    return f"step {step.name}: {step.reason}"[:MAX_REASON_CHARACTERS]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    unblocked: Sequence[str]
    """Ids of blocked steps that are to run now."""
    skipped: Mapping[str, str]
    """Id of a blocked step that will never run → why."""
    failed: Mapping[str, str]
    """Id of a blocked step that fails with a part of it → name of the part."""
    cancelled: Mapping[str, str]
    """Id of a blocked step of which a part was cancelled → name of the part."""
    finished: BuildEvent | None
    """How the build ends, once every step has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    waits: int
    dependants: Sequence[int]


def links_of(steps: Sequence[Step]) -> Mapping[str, Links]:
    """Step id → what its row says of its place in the build: see `Step.waits`, `.dependants`."""
    still_open = {step.name for step in steps if step.state not in FINISHED_STEP}
    dependants: dict[str, list[int]] = {step.name: [] for step in steps}
    for step in steps:
        for name in step.depends_on:
            dependants[name].append(step.position)
    return {
        step.id: Links(
            waits=sum(name in still_open for name in step.depends_on),
            dependants=dependants[step.name],
        )
        for step in steps
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependant:
    """One that depends on a step that has just ended, as far as is needed of it."""

    id: str
    state: StepState
    waits: int
    """After that end."""
    run_on: Sequence[Ending] | None
    """None where its definition was not read, for it still waits for others."""


def freed(dependants: Sequence[Dependant], *, succeeded: bool) -> Sequence[str] | None:
    """Ids of those that are to run now; None where only `settle` can tell.

    What `settle` would say, from the neighbours alone. A step that runs on success alone is
    skipped at the first dependency that has not succeeded, whoever that is; while it is blocked,
    all that have ended have succeeded. Others are decided when the last dependency has ended, by
    how all of them have: that is seldom, and `settle`'s. `succeeded`: the step's end counts as
    success for those that depend on it.
    """
    blocked = [one for one in dependants if one.state is StepState.BLOCKED]
    for one in blocked:
        by_success = one.run_on == DEFAULT_RUN_ON
        if (by_success and not succeeded) or (not by_success and one.waits == 0):
            return None
    return [one.id for one in blocked if one.waits == 0]


def counts_as_success(step: Step) -> bool:
    """Whether its end lets run what runs on success. A part that may fail is still missing."""
    if step.state is StepState.FAILED:
        return step.written.allow_failure and step.definition.part_of is None
    return step.state is StepState.SUCCEEDED


class _Outcome(Enum):
    """What a step's end means to those that depend on it."""

    OPEN = "open"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """It, or something it was waiting for."""
    CANCELLED = "cancelled"
    NOT_RUN = "not run"
    """Skipped though nothing failed: its condition was false, or it waited for a failure."""


def settle(steps: Sequence[StepView]) -> Settlement:
    """Follow the consequences to their end, so that one call suffices.

    In the order of the dependencies each step is looked at once: linear in steps and edges.
    """
    by_name = {step.name: step for step in steps}
    outcomes: dict[str, _Outcome] = {}
    unblocked: list[str] = []
    skipped: dict[str, str] = {}
    ended = {StepState.FAILED: dict[str, str](), StepState.CANCELLED: dict[str, str]()}
    for name in topological_order(steps):
        step = by_name[name]
        state = step.state
        if state is StepState.BLOCKED and step.parts:
            state, part = _with_its_parts(step, by_name)
            if state in ended:
                ended[state][step.id] = part
            elif state is StepState.READY:
                unblocked.append(step.id)
        elif state is StepState.BLOCKED:
            decision = _decide(step, by_name, outcomes)
            if decision is True:
                unblocked.append(step.id)
            elif decision:
                skipped[step.id] = decision
                state = StepState.SKIPPED
        outcomes[name] = _outcome(step, state, outcomes)
    return Settlement(
        unblocked=unblocked,
        skipped=skipped,
        failed=ended[StepState.FAILED],
        cancelled=ended[StepState.CANCELLED],
        finished=None if _Outcome.OPEN in outcomes.values() else _finish(steps),
    )


def _with_its_parts(step: StepView, by_name: Mapping[str, StepView]) -> tuple[StepState, str]:
    """The state of a step that waits for its parts, and the part by which it has ended if it has.
    What it depends on besides has ended: it was running when it was split."""
    parts = [by_name[name] for name in step.parts]
    for state in (StepState.FAILED, StepState.CANCELLED):
        ended = next((part.name for part in parts if part.state is state), None)
        if ended is not None:
            return state, ended
    if all(part.state is StepState.SUCCEEDED for part in parts):
        return StepState.READY, ""
    return StepState.BLOCKED, ""


def _decide(
    step: StepView, by_name: Mapping[str, StepView], outcomes: Mapping[str, _Outcome]
) -> str | Literal[True] | None:
    """True: it runs. Text: why it is skipped. None: that is not settled yet."""
    before = {name: outcomes[name] for name in step.depends_on}
    if step.run_on == DEFAULT_RUN_ON:
        broken = _first(before, _Outcome.FAILED, _Outcome.CANCELLED, _Outcome.NOT_RUN)
        if broken is not None:
            return f"dependency did not succeed: {broken}"
    if _Outcome.OPEN in before.values():
        return None
    cancelled = _first(before, _Outcome.CANCELLED)
    if cancelled is not None:
        cleans_up = Ending.CANCELLED in step.run_on and any(by_name[name].begun for name in before)
        return cleans_up or f"dependency was cancelled: {cancelled}"
    if _ALWAYS.issubset(step.run_on) or _ending(before) in step.run_on:
        return True
    if Ending.SUCCESS in step.run_on:
        return f"dependency did not succeed: {_first(before, _Outcome.FAILED, _Outcome.NOT_RUN)}"
    return "no dependency " + " or ".join(_HOW[ending] for ending in step.run_on)


_ALWAYS = frozenset({Ending.SUCCESS, Ending.FAILURE})
_HOW = {Ending.FAILURE: "failed", Ending.CANCELLED: "was cancelled"}


def _ending(before: Mapping[str, _Outcome]) -> Ending | None:
    """How the dependencies ended together; None where none failed but some did not run."""
    if _Outcome.FAILED in before.values():
        return Ending.FAILURE
    return None if _Outcome.NOT_RUN in before.values() else Ending.SUCCESS


def _first(before: Mapping[str, _Outcome], *wanted: _Outcome) -> str | None:
    return next((name for name, outcome in before.items() if outcome in wanted), None)


def _outcome(step: StepView, state: StepState, outcomes: Mapping[str, _Outcome]) -> _Outcome:
    match state:
        case StepState.SUCCEEDED:
            return _Outcome.SUCCEEDED
        case StepState.FAILED:
            allowed = step.allow_failure and not step.is_part
            return _Outcome.SUCCEEDED if allowed else _Outcome.FAILED
        case StepState.CANCELLED:
            return _Outcome.CANCELLED
        case StepState.SKIPPED:
            before = {outcomes[name] for name in step.depends_on}
            inherited = (_Outcome.FAILED, _Outcome.CANCELLED)
            return next((one for one in inherited if one in before), _Outcome.NOT_RUN)
        case _:
            return _Outcome.OPEN


def _finish(steps: Sequence[StepView]) -> BuildEvent:
    if any(step.state is StepState.CANCELLED for step in steps):
        return BuildEvent.CANCEL  # somebody ended it, whatever had failed before
    if any(step.state is StepState.FAILED and not step.allow_failure for step in steps):
        return BuildEvent.FAIL
    return BuildEvent.SUCCEED
