"""The first start after a restore: what was handed out before is nobody's any more."""

from __future__ import annotations

import structlog

from coordinator.domain.generation import Generation
from coordinator.domain.lifecycle import StepEvent, StepState
from coordinator.domain.model import Step
from coordinator.domain.steps.verdict import AttemptEnd
from coordinator.object_ports import LogDigest
from coordinator.services.audit import Deed
from coordinator.services.core import Core
from coordinator.services.steps import advance, attempt_ends
from coordinator.storage import generations as stored
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.steps import attempts as stored_attempts
from coordinator.storage.steps import steps as stored_steps
from pipelines_schema.contract import Completion, CompletionReason

log = structlog.get_logger()

MESSAGE = (
    "It ran when the backup was made that this installation was restored from: what became of it "
    "is not known."
)


async def enter_newest_generation(core: Core) -> None:
    """Before anybody is answered. Does nothing but once after each restore.

    An attempt that ran is lost, as if its agent had gone, and its step goes on as its `retries`
    say. Its log ends with what the backup has: a report that comes late is not taken.
    """
    generation = await core.database.read(stored.newest_generation)
    core.generations.current = generation
    if generation is None or generation.entered_at is not None:
        return
    handed_out = await core.database.read(stored_steps.handed_out_steps)
    logs = {
        step.id: await core.logs.digest(step.attempt_id)
        for step in handed_out
        if step.state is StepState.RUNNING
    }

    async def enter(connection: AsyncConnection) -> None:
        for step in handed_out:
            await _end(core, connection, step, logs.get(step.id))
        await stored.enter_generation(connection, generation, core.now())
        await Deed(core, None).record(
            connection,
            "installation.restored",
            generation=generation.number,
            backedUpAt=generation.backed_up_at.isoformat(),
            lostAttempts=len(logs),
        )

    await core.database.write(enter)
    _tell(generation, len(logs))
    for step in handed_out:
        if step.id in logs and logs[step.id].size:
            await core.logs.close(step.attempt_id)


def _tell(generation: Generation, lost: int) -> None:
    log.info(
        "restored from a backup",
        generation=generation.number,
        backed_up_at=generation.backed_up_at.isoformat(),
        lost_attempts=lost,
    )


async def _end(
    core: Core, connection: AsyncConnection, read: Step, digest: LogDigest | None
) -> None:
    """The end of another may have ended it already, as `failFast` does."""
    step = await stored_steps.find_step(connection, read.id)
    if step is None or step.state not in (StepState.OFFERED, StepState.RUNNING):
        return
    if step.state is StepState.OFFERED:
        await advance.move_step(core, connection, step, StepEvent.EXPIRE)
        return
    attempt = await stored_attempts.find_attempt(connection, step.id, step.epoch)
    if attempt is None:
        raise LookupError(f"step {step.id} runs without an attempt {step.epoch}")
    end = AttemptEnd(status=Completion.FAILED, exit_code=None, reason=CompletionReason.LOST)
    await attempt_ends.end_attempt(core, connection, step, attempt, end, digest, MESSAGE)
