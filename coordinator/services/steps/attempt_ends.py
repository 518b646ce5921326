"""What becomes of a step whose attempt ends, was never held, or is heard of after it was lost.

Inside a transaction, like all of `advance`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from coordinator.domain.lifecycle import StepEvent, StepState, advance_step
from coordinator.domain.model import Attempt, Step
from coordinator.domain.steps.verdict import AttemptEnd, Verdict, judge, retry_policy
from coordinator.object_ports import LogDigest
from coordinator.services.core import Core
from coordinator.services.steps.advance import Followed, follow_end, move_step
from coordinator.storage.builds import builds as stored
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.database import after_commit
from coordinator.storage.outputs.output_values import mark_build
from coordinator.storage.steps import attempts as stored_attempts


async def resume(core: Core, connection: AsyncConnection, step: Step, attempt: Attempt) -> Step:
    """The step as it was before its attempt was taken for lost: for a report that came late.

    Its epoch goes back to the attempt's. One that was counted up for an offer is given again: it
    was never accepted, and an accept must name its holder, too.
    """
    if step.state is StepState.OFFERED:
        step = replace(step, state=advance_step(step.state, StepEvent.EXPIRE))
    return await move_step(
        core,
        connection,
        step,
        StepEvent.RESUME,
        epoch=attempt.epoch,
        holder=attempt.holder,
        lost_count=max(step.lost_count - 1, 0),
    )


async def take_back(core: Core, connection: AsyncConnection, step: Step, attempt: Attempt) -> None:
    """The hand-out never reached anybody: the step is as before, but for its epoch."""
    await stored_attempts.delete_attempt(connection, attempt)
    values: dict[str, Any] = {"attempt": step.attempt - 1}
    if step.concurrency_group is None:  # else it waits for a place first
        values["queue_until"] = step.queue_until
    await move_step(core, connection, step, StepEvent.RETRY, **values)
    await stored.count_version(connection, step.build_id, now=core.now())


async def end_attempt(
    core: Core,
    connection: AsyncConnection,
    step: Step,
    attempt: Attempt,
    end: AttemptEnd,
    log: LogDigest | None,
    message: str | None,
    images: Sequence[Mapping[str, str]] | None = None,
    outputs: Mapping[str, str] | None = None,
    *,
    log_assumed: bool = False,
) -> tuple[Verdict, Followed]:
    """Close an attempt, and draw the consequences for its step and build.

    Raises NotSilent where the log was only assumed to be empty, and isn't.
    """
    verdict = judge(
        end,
        attempt_number=attempt.number,
        lost_count=step.lost_count,
        policy=retry_policy(step.definition),
        cancel_requested_by=step.cancel_requested_by,
    )
    await stored_attempts.end_attempt(
        connection,
        attempt,
        state=verdict.attempt,
        exit_code=end.exit_code,
        reason=verdict.reason,
        log_bytes=log.size if log else None,
        log_sha256=log.sha256 if log else None,
        outputs=outputs,
        now=core.now(),
        log_assumed=log_assumed,
    )
    after_commit(connection, lambda: core.meter.attempt_ended(verdict))
    if outputs:
        await mark_build(connection, step.build_id)
    ended = await move_step(
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
    return verdict, await follow_end(core, connection, ended)
