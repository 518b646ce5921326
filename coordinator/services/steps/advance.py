"""Moving steps and builds: every change of state goes through here, inside a transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from coordinator.domain.builds.roll_up import failure_of_build, settle, step_view
from coordinator.domain.lifecycle import (
    FINISHED_BUILD,
    FINISHED_STEP,
    BuildEvent,
    BuildState,
    StepEvent,
    StepState,
    advance_build,
    advance_step,
)
from coordinator.domain.model import Attempt, Step
from coordinator.domain.steps.verdict import AttemptEnd, Verdict, judge, retry_policy
from coordinator.ports import LogDigest
from coordinator.services.core import Core
from coordinator.storage.builds import builds as stored
from coordinator.storage.connection import AsyncConnection


async def move_step(
    core: Core, connection: AsyncConnection, step: Step, event: StepEvent, **values: Any
) -> StepState:
    """Raises IllegalTransition."""
    now, state = core.now(), advance_step(step.state, event)
    if state in FINISHED_STEP:
        values["finished_at"] = now
    if state is StepState.READY:
        values |= {"ready_at": now, "holder": None, "lease_seconds": None}
        if event is not StepEvent.EXPIRE:  # which would let an agent that never accepts prolong it
            values["queue_until"] = now + timedelta(seconds=queue_seconds(core, step))
    if state is StepState.RUNNING and step.started_at is None:
        values["started_at"] = now
    await stored.update_step(connection, step.id, state=state.value, **values)
    return state


def queue_seconds(core: Core, step: Step) -> float:
    """How long it may wait for an agent."""
    return step.written.queue_timeout_seconds or core.settings.queue_timeout_seconds


def queued(core: Core, step: Step) -> Step:
    """A new step, which may be ready from the start."""
    if step.ready_at is None:
        return step
    return replace(step, queue_until=step.ready_at + timedelta(seconds=queue_seconds(core, step)))


async def begin_build(core: Core, connection: AsyncConnection, build_id: str) -> None:
    """After a step of it began: nothing else can follow, so its other steps aren't read."""
    now = core.now()
    build = await stored.find_build(connection, build_id)
    if build is None:
        raise LookupError(f"no build {build_id}")
    values: dict[str, Any] = {}
    if build.state is BuildState.QUEUED:
        state = advance_build(build.state, BuildEvent.BEGIN)
        values = {"state": state.value, "started_at": now}
    await stored.update_build(connection, build_id, now=now, **values)


async def settle_build(core: Core, connection: AsyncConnection, build_id: str) -> BuildState:
    """After a step of it ended: unblock, skip, finish."""
    now = core.now()
    build = await stored.find_build(connection, build_id)
    if build is None:
        raise LookupError(f"no build {build_id}")
    steps = await stored.steps_of_build(connection, build_id)
    build_state = build.state
    settlement = settle([step_view(step) for step in steps])
    by_id = {step.id: step for step in steps}
    for step_id in settlement.unblocked:
        await move_step(core, connection, by_id[step_id], StepEvent.UNBLOCK)
    for step_id, reason in settlement.skipped.items():
        await move_step(core, connection, by_id[step_id], StepEvent.SKIP, reason=reason)
    if settlement.finished is not None and build_state not in FINISHED_BUILD:
        build_state = advance_build(build_state, settlement.finished)
        ended: dict[str, Any] = {"state": build_state.value, "finished_at": now}
        if build_state is BuildState.SUCCEEDED:
            ended["reason"] = None  # a cancel that came too late
        elif build_state is BuildState.FAILED:
            ended["reason"] = failure_of_build(steps)
        await stored.update_build(connection, build_id, now=now, **ended)
    else:
        await stored.update_build(connection, build_id, now=now)
    return build_state


async def resume(core: Core, connection: AsyncConnection, step: Step, attempt: Attempt) -> Step:
    """The step as it was before its attempt was taken for lost: for a report that came late.

    Its epoch goes back to the attempt's. One that was counted up for an offer is given again: it
    was never accepted, and an accept must name its holder, too.
    """
    if step.state is StepState.OFFERED:
        step = replace(step, state=advance_step(step.state, StepEvent.EXPIRE))
    lost_count = max(step.lost_count - 1, 0)
    state = await move_step(
        core,
        connection,
        step,
        StepEvent.RESUME,
        epoch=attempt.epoch,
        holder=attempt.holder,
        lost_count=lost_count,
    )
    return replace(
        step, state=state, epoch=attempt.epoch, holder=attempt.holder, lost_count=lost_count
    )


async def end_attempt(
    core: Core,
    connection: AsyncConnection,
    step: Step,
    attempt: Attempt,
    end: AttemptEnd,
    log: LogDigest | None,
    message: str | None,
    images: Sequence[Mapping[str, str]] | None = None,
) -> tuple[Verdict, BuildState]:
    """Close an attempt, and draw the consequences for its step and build."""
    verdict = judge(
        end,
        attempt_number=attempt.number,
        lost_count=step.lost_count,
        policy=retry_policy(step.definition),
        cancel_requested_by=step.cancel_requested_by,
    )
    await stored.end_attempt(
        connection,
        attempt,
        state=verdict.attempt,
        exit_code=end.exit_code,
        reason=verdict.reason,
        log_bytes=log.size if log else None,
        log_sha256=log.sha256 if log else None,
        now=core.now(),
    )
    await move_step(
        core,
        connection,
        step,
        verdict.event,
        exit_code=end.exit_code,
        reason=verdict.reason,
        message=message,
        images=images,
        lost_count=step.lost_count + (1 if verdict.lost else 0),
    )
    return verdict, await settle_build(core, connection, step.build_id)
