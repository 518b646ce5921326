"""Attempts of steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import sqlalchemy as sa

from coordinator.domain.lifecycle import StepState
from coordinator.domain.model import Attempt, AttemptState, Step
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.direct_statements import direct
from coordinator.storage.logs.log_tails import has_tail
from coordinator.storage.projects.stored_bytes import add_stored
from coordinator.storage.rows import columns, reader, values_of
from coordinator.storage.steps.rows import step_of
from coordinator.storage.tables import (
    attempts,
    steps,
    tokens,
)

_ITS_ID: sa.BindParameter[str] = sa.bindparam("its_id")
_attempt = reader(Attempt, state=AttemptState)


_joined_attempt = reader(Attempt, prefix="attempt__", state=AttemptState)


_FIND_ATTEMPT = direct(
    sa.select(*columns(Attempt, attempts)).where(
        attempts.c.step_id == _ITS_ID, attempts.c.epoch == sa.bindparam("its_epoch")
    )
)


_FIND_BOTH = direct(
    sa.select(
        *columns(Step, steps),
        *(column.label(f"attempt__{column.name}") for column in columns(Attempt, attempts)),
    )
    .join(
        attempts,
        sa.and_(
            attempts.c.step_id == steps.c.id,
            attempts.c.epoch
            == sa.func.coalesce(sa.bindparam("its_epoch", type_=sa.Integer), steps.c.epoch),
        ),
        isouter=True,
    )
    .where(steps.c.id == _ITS_ID)
)


_FIND_GIVEN_WITH = direct(
    sa.select(*columns(Attempt, attempts)).where(
        attempts.c.given_with == sa.bindparam("given"), sa.text("attempts.state = 'running'")
    )
)


_RUNS = direct(
    sa.select(attempts.c.epoch)
    .join(steps, sa.and_(steps.c.id == attempts.c.step_id, steps.c.epoch == attempts.c.epoch))
    .where(
        steps.c.id == _ITS_ID,
        steps.c.epoch == sa.bindparam("its_epoch"),
        steps.c.state == StepState.RUNNING.value,
        attempts.c.state == AttemptState.RUNNING.value,
        ~sa.exists().where(
            tokens.c.agent_id == sa.func.substr(attempts.c.holder, len("agent:") + 1),
            tokens.c.revoked_at.is_not(None),
        ),
    )
)


_INSERT_ATTEMPT = direct(attempts.insert())


_UPDATE = attempts.update().where(
    attempts.c.step_id == _ITS_ID, attempts.c.epoch == sa.bindparam("its_epoch")
)
_UPDATE_ATTEMPT = direct(_UPDATE)
_UPDATE_IF_SILENT = direct(
    _UPDATE.where(~has_tail(sa.bindparam("its_log", type_=sa.String))).returning(attempts.c.epoch)
)


class NotSilent(Exception):
    """Something was taken of a log that was believed to be empty."""


async def insert_attempt(connection: AsyncConnection, attempt: Attempt) -> None:
    await connection.execute(_INSERT_ATTEMPT, values_of(Attempt, attempts, attempt))


async def runs_as_it_should(connection: AsyncConnection, step_id: str, epoch: int) -> bool:
    """Whether that attempt is the step's current one, runs, and is of an agent whose credential is
    good, if of an agent at all."""
    values = {"its_id": step_id, "its_epoch": epoch}
    return (await connection.execute(_RUNS, values)).first() is not None


async def find_attempt(connection: AsyncConnection, step_id: str, epoch: int) -> Attempt | None:
    values = {"its_id": step_id, "its_epoch": epoch}
    row = (await connection.execute(_FIND_ATTEMPT, values)).first()
    return _attempt(row) if row else None


async def find_step_and_attempt(
    connection: AsyncConnection, step_id: str, epoch: int | None
) -> tuple[Step, Attempt | None] | None:
    """The attempt of that epoch; without one, of the step's current one."""
    values = {"its_id": step_id, "its_epoch": epoch}
    row = (await connection.execute(_FIND_BOTH, values)).first()
    if row is None:
        return None
    return step_of(row), None if row.attempt__epoch is None else _joined_attempt(row)


async def handed_over_with(connection: AsyncConnection, attempt: Attempt) -> Attempt | None:
    """The attempt that the completion of that one was answered with, while it runs."""
    row = (await connection.execute(_FIND_GIVEN_WITH, {"given": attempt.id})).first()
    return _attempt(row) if row else None


async def delete_attempt(connection: AsyncConnection, attempt: Attempt) -> None:
    await connection.execute(
        attempts.delete().where(
            attempts.c.step_id == attempt.step_id, attempts.c.epoch == attempt.epoch
        )
    )


async def attempts_of_step(connection: AsyncConnection, step_id: str) -> Sequence[Attempt]:
    """In the order they were tried."""
    query = (
        sa.select(*columns(Attempt, attempts))
        .where(attempts.c.step_id == step_id)
        .order_by(attempts.c.epoch)
    )
    return [_attempt(row) for row in await connection.execute(query)]


async def attempts_of_build(
    connection: AsyncConnection, build_id: str
) -> Mapping[str, Sequence[Attempt]]:
    """Step id → its attempts in the order they were tried."""
    query = (
        sa.select(*columns(Attempt, attempts))
        .join(steps, steps.c.id == attempts.c.step_id)
        .where(steps.c.build_id == build_id)
        .order_by(attempts.c.step_id, attempts.c.epoch)
    )
    found: dict[str, list[Attempt]] = {}
    for row in await connection.execute(query):
        found.setdefault(row.step_id, []).append(_attempt(row))
    return found


async def end_attempt(
    connection: AsyncConnection,
    attempt: Attempt,
    *,
    state: AttemptState,
    exit_code: int | None,
    reason: str | None,
    log_bytes: int | None,
    log_sha256: str | None,
    outputs: Mapping[str, str] | None,
    now: datetime,
    log_assumed: bool = False,
) -> None:
    """`log_assumed`: nobody has looked whether the log is empty. Raises NotSilent if it isn't."""
    values = {
        "its_id": attempt.step_id,
        "its_epoch": attempt.epoch,
        "state": state.value,
        "exit_code": exit_code,
        "reason": reason,
        "log_bytes": log_bytes,
        "log_sha256": log_sha256,
        "finished_at": now,
        **({"outputs": outputs} if outputs else {}),  # else what a worker sent before it completed
    }
    if log_assumed:
        ended = await connection.execute(_UPDATE_IF_SILENT, values | {"its_log": attempt.id})
        if ended.first() is None:
            raise NotSilent(attempt.id)
    else:
        await connection.execute(_UPDATE_ATTEMPT, values)
    await add_stored(connection, attempt.step_id, log_bytes or 0, of_logs=log_bytes or 0)


async def set_outputs(
    connection: AsyncConnection, attempt: Attempt, outputs: Mapping[str, str]
) -> None:
    """Before it has ended."""
    values = {"its_id": attempt.step_id, "its_epoch": attempt.epoch, "outputs": outputs}
    await connection.execute(_UPDATE_ATTEMPT, values)


async def set_log(
    connection: AsyncConnection, attempt: Attempt, log_bytes: int, log_sha256: str
) -> None:
    """Of an attempt that has ended without saying what its log is."""
    await connection.execute(
        attempts.update()
        .where(attempts.c.step_id == attempt.step_id, attempts.c.epoch == attempt.epoch)
        .values(log_bytes=log_bytes, log_sha256=log_sha256)
    )
    more = log_bytes - (attempt.log_bytes or 0)
    await add_stored(connection, attempt.step_id, more, of_logs=more)
