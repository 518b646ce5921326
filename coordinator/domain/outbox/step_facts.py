"""What is told of a build's steps: the state of each, and that one waits for an approval. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from coordinator.domain.builds.roll_up import failure_words
from coordinator.domain.lifecycle import StepState
from coordinator.domain.model import Build, Step
from coordinator.domain.outbox.messages import Facts, Status, facts_about, instant, took
from coordinator.domain.steps.gates import approval_by, approver_of

_STATUSES = {
    StepState.WAITING: Status.WAITING,
    StepState.RUNNING: Status.RUNNING,
    StepState.SUCCEEDED: Status.SUCCESS,
    StepState.SKIPPED: Status.SUCCESS,
    StepState.FAILED: Status.FAILURE,
    StepState.CANCELLED: Status.CANCELLED,
}
"""One that was skipped stands in no merge's way, as at GitHub: the build's own status does."""


def status_of(state: StepState) -> Status:
    return _STATUSES.get(state, Status.PENDING)


def facts_of_step(build: Build, step: Step) -> Facts:
    """Of its state as it stands."""
    return facts_about(
        build,
        status_of(step.state),
        _words(build, step),
        step=step.name,
        started_at=instant(step.started_at),
        finished_at=instant(step.finished_at),
    )


def _words(build: Build, step: Step) -> str:
    said = " ".join((step.reason or "").split())
    match step.state:
        case StepState.WAITING:
            return _waits(build, step)
        case StepState.RUNNING:
            return "running" if step.attempt < 2 else f"running, attempt {step.attempt}"
        case StepState.SUCCEEDED:
            return f"succeeded{took(step.started_at, step.finished_at)}"
        case StepState.FAILED:
            allowed = " (allowed)" if step.written.allow_failure else ""
            return failure_words(step) + allowed
        case StepState.CANCELLED:
            return said or "cancelled"
        case StepState.SKIPPED:
            return f"skipped: {said}" if said else "skipped"
        case _ if step.attempt:
            return f"waits for another attempt, after {said}" if said else "waits for another try"
        case _:
            return "queued"


def facts_of_gates(build: Build, gates: Sequence[Step]) -> Facts:
    """Of a build of which these steps wait for an approval, the last to ask at the end."""
    newest = gates[-1]
    words = f"{newest.name} {_waits(build, newest)}"
    more = f", and {len(gates) - 1} more" if len(gates) > 1 else ""
    started_at = instant(build.started_at)
    return facts_about(build, Status.WAITING, words + more, gate=newest.name, started_at=started_at)


def _waits(build: Build, step: Step) -> str:
    gate = step.written.approve
    if gate is None:
        return "waits for an approval"
    return f"waits for {approval_by(approver_of(gate, of_fork=build.of_fork))}"
