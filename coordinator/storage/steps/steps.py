"""Steps, one by one: found, moved, handed out, counted down."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from coordinator.domain.builds.roll_up import Dependant
from coordinator.domain.gate_answer import GateAnswer
from coordinator.domain.lifecycle import StepState
from coordinator.domain.model import Step
from coordinator.domain.steps.holders import AGENT
from coordinator.domain.steps.scheduling import queue_class_of
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.direct_statements import direct
from coordinator.storage.rows import columns
from coordinator.storage.steps.rows import step_of
from coordinator.storage.tables import agents, builds, steps
from coordinator.storage.tables.step_tables import WAITS_FOR_A_TIME
from coordinator.storage.transactions import locks_rows

_ITS_ID: sa.BindParameter[str] = sa.bindparam("its_id")
_FIND_STEP = direct(sa.select(*columns(Step, steps)).where(steps.c.id == _ITS_ID))


_LOCK_STEP = direct(
    sa.select(steps.c.id)
    .join(builds, builds.c.id == steps.c.build_id)
    .where(steps.c.id == _ITS_ID)
    .with_for_update(of=[steps, builds])
)


_UPDATE_STEP = direct(steps.update().where(steps.c.id == _ITS_ID))


_COUNT_DOWN = (
    steps.update()
    .where(
        steps.c.build_id == sa.bindparam("its_build"),
        steps.c.position.in_(sa.bindparam("its_positions", expanding=True)),
    )
    .values(waits=steps.c.waits - 1)
)


_WHOLE_STEP = columns(Step, steps)


_STEP_IF_ITS_TURN = [
    column
    if column is not steps.c.definition
    else sa.case((steps.c.waits == 0, column), else_=sa.null()).label("definition")
    for column in _WHOLE_STEP
]


_COUNT_DOWN_ALL = direct(_COUNT_DOWN.returning(*_WHOLE_STEP))


_COUNT_DOWN_NEXT = direct(_COUNT_DOWN.returning(*_STEP_IF_ITS_TURN))


async def count_down(
    connection: AsyncConnection, step: Step, *, with_definitions: bool
) -> Sequence[tuple[Dependant, Step | None]]:
    """Those that depend on the step wait for one less.

    Each with its step where it waits for no other now, or `with_definitions` for all.
    """
    if not step.dependants:
        return []
    statement = _COUNT_DOWN_ALL if with_definitions else _COUNT_DOWN_NEXT
    values = {"its_build": step.build_id, "its_positions": list(step.dependants)}
    found = await connection.execute(statement, values)
    return [_dependant(row) for row in found.all()]


def _dependant(row: Any) -> tuple[Dependant, Step | None]:
    step = None if row.definition is None else step_of(row)
    dependant = Dependant(
        id=row.id,
        state=StepState(row.state),
        waits=row.waits,
        run_on=None if step is None else step.written.run_on,
    )
    return dependant, step


async def lock_step(connection: AsyncConnection, step_id: str) -> None:
    """Before anything is read of it: from now on nobody else changes it, its build, or which steps
    of the build may begin. Those who are in the way are waited for. Nothing where the transaction
    is isolated."""
    if locks_rows(connection):
        await connection.execute(_LOCK_STEP, {"its_id": step_id})


async def find_step(connection: AsyncConnection, step_id: str) -> Step | None:
    row = (await connection.execute(_FIND_STEP, {"its_id": step_id})).first()
    return step_of(row) if row else None


async def update_step(connection: AsyncConnection, step_id: str, **values: Any) -> None:
    await connection.execute(_UPDATE_STEP, {"its_id": step_id, **values})


async def keep_answer(connection: AsyncConnection, step_id: str, answer: GateAnswer) -> bool:
    """False where the step does not wait for one, or not any more."""
    found = await connection.execute(
        steps.update()
        .where(
            steps.c.id == step_id,
            steps.c.state == StepState.WAITING.value,
            steps.c.answer.is_(None),
        )
        .values(answer=answer.to_json())
    )
    return found.rowcount == 1


async def waiting_gates(connection: AsyncConnection, build_id: str) -> Sequence[Step]:
    """Steps of the build that wait for an approval, the last to ask at the end."""
    query = (
        sa.select(*columns(Step, steps))
        .where(steps.c.build_id == build_id, steps.c.state == StepState.WAITING.value)
        .order_by(steps.c.ready_at, steps.c.position)
    )
    return [step_of(row) for row in await connection.execute(query)]


async def steps_waiting_since(
    connection: AsyncConnection, now: datetime, limit: int
) -> Sequence[Step]:
    """Steps whose time in the queue, for an answer or between two attempts is over, those first for
    whom it was over first."""
    query = (
        sa.select(*columns(Step, steps))
        .where(sa.text(WAITS_FOR_A_TIME), steps.c.queue_until <= now)
        .order_by(steps.c.queue_until, steps.c.position)
        .limit(limit)
    )
    return [step_of(row) for row in await connection.execute(query)]


async def fill_step(connection: AsyncConnection, step: Step) -> None:
    """Keep what its words stand for, and its labels with them."""
    queue_class = queue_class_of(step.account_id, step.labels, step.needs)
    await update_step(
        connection,
        step.id,
        definition=step.definition.to_json(),
        labels=dict(step.labels),
        queue_class=queue_class,
    )


async def builds_resolving(connection: AsyncConnection) -> Sequence[str]:
    """Ids of builds with steps whose dependencies have ended and that are to be resolved."""
    query = sa.select(steps.c.build_id).distinct().where(sa.text("steps.state = 'resolving'"))
    return list((await connection.execute(query)).scalars())


async def resolving_steps(connection: AsyncConnection, build_id: str) -> Sequence[Step]:
    query = (
        sa.select(*columns(Step, steps))
        .where(steps.c.build_id == build_id, sa.text("steps.state = 'resolving'"))
        .order_by(steps.c.position)
    )
    return [step_of(row) for row in await connection.execute(query)]


async def handed_out_steps(connection: AsyncConnection) -> Sequence[Step]:
    query = sa.select(*columns(Step, steps)).where(sa.text("steps.state IN ('offered', 'running')"))
    return [step_of(row) for row in await connection.execute(query)]


async def steps_handed_out_at(connection: AsyncConnection, home: str) -> Sequence[Step]:
    """To agents that are at that coordinator."""
    query = (
        sa.select(*columns(Step, steps))
        .join(agents, steps.c.holder == AGENT + agents.c.id)
        .where(sa.text("steps.state IN ('offered', 'running')"), agents.c.home == home)
    )
    return [step_of(row) for row in await connection.execute(query)]


async def homes_with_steps(connection: AsyncConnection) -> Sequence[str]:
    """The coordinators at which agents are that something is handed out to."""
    query = (
        sa.select(agents.c.home)
        .distinct()
        .join(steps, steps.c.holder == AGENT + agents.c.id)
        .where(sa.text("steps.state IN ('offered', 'running')"), agents.c.home.is_not(None))
    )
    return list((await connection.execute(query)).scalars())


async def steps_held_by(
    connection: AsyncConnection, holder: str, account_id: str | None
) -> Sequence[Step]:
    """Those of the account (all where it is None) that are handed out to it, in order of start."""
    query = (
        sa.select(*columns(Step, steps))
        .where(sa.text("steps.state IN ('offered', 'running')"), steps.c.holder == holder)
        .order_by(steps.c.started_at.nulls_first(), steps.c.id)
    )
    if account_id is not None:
        query = query.where(steps.c.account_id == account_id)
    return [step_of(row) for row in await connection.execute(query)]


async def hand_out(
    connection: AsyncConnection, step_id: str, *, to: StepState, holder: str
) -> tuple[int, str] | None:
    """Hand a ready step out in one statement: epoch + 1. None where another was quicker.

    Returns the new epoch and the build's id.
    """
    found = await connection.execute(
        steps.update()
        .where(steps.c.id == step_id, steps.c.state == StepState.READY.value)
        .values(state=to.value, holder=holder, epoch=steps.c.epoch + 1)
        .returning(steps.c.epoch, steps.c.build_id)
    )
    row = found.first()
    return (row.epoch, row.build_id) if row else None
