"""The ready steps, as dispatch asks for them: by what they want of an agent, never one by one.

SQLite and PostgreSQL read all rows for a DISTINCT, also along an index. A recursive query that
seeks the next greater key reads one row of each: 10,000 steps of one class and project are one row.
What is known of that row is asked for by its id, once for each column: for a join PostgreSQL may
read the whole table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from coordinator.domain.lifecycle import StepState
from coordinator.domain.model import Step
from coordinator.domain.steps.demand import WaitingSteps
from coordinator.domain.steps.scheduling import Queue, QueueClass
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.direct_statements import direct
from coordinator.storage.rows import columns
from coordinator.storage.steps.rows import step_of
from coordinator.storage.tables import Instant, steps
from coordinator.storage.tables.step_tables import WAITS_FOR_A_TIME

_CLASSES = direct(
    sa.text("""
    WITH RECURSIVE heads (head) AS (
        SELECT (
            SELECT id FROM steps WHERE state = 'ready'
            ORDER BY queue_class, project_id, ready_at, position LIMIT 1
        )
        UNION ALL
        SELECT (
            SELECT following.id FROM steps AS following
            WHERE following.state = 'ready' AND following.queue_class > (
                SELECT queue_class FROM steps WHERE id = heads.head
            )
            ORDER BY following.queue_class, following.project_id, following.ready_at,
            following.position LIMIT 1
        ) FROM heads WHERE heads.head IS NOT NULL
    )
    SELECT
        (SELECT queue_class FROM steps WHERE id = head) AS id,
        (SELECT account_id FROM steps WHERE id = head) AS account_id,
        (SELECT labels FROM steps WHERE id = head) AS labels,
        (SELECT needs FROM steps WHERE id = head) AS needs,
        (SELECT project_id FROM steps WHERE id = head) AS project_id,
        (SELECT ready_at FROM steps WHERE id = head) AS oldest,
        (
            SELECT max(project_id) FROM steps WHERE state = 'ready'
            AND queue_class = (SELECT queue_class FROM steps WHERE id = head)
        ) > (SELECT project_id FROM steps WHERE id = head) AS others
    FROM heads WHERE head IS NOT NULL
""").columns(
        sa.column("id", sa.String),
        sa.column("account_id", sa.String),
        sa.column("labels", sa.JSON),
        sa.column("needs", sa.JSON),
        sa.column("project_id", sa.String),
        sa.column("oldest", Instant),
        sa.column("others", sa.Boolean),
    )
)
"""Each class with its first project's queue, which mostly is all of it."""

_QUEUES = """
    WITH RECURSIVE wanted (queue_class) AS (VALUES {wanted}),
    heads (queue_class, project_id) AS (
        SELECT queue_class, (
            SELECT min(project_id) FROM steps
            WHERE state = 'ready' AND queue_class = wanted.queue_class
        ) FROM wanted
        UNION ALL
        SELECT heads.queue_class, (
            SELECT min(project_id) FROM steps
            WHERE state = 'ready' AND queue_class = heads.queue_class
            AND project_id > heads.project_id
        ) FROM heads WHERE heads.project_id IS NOT NULL
    )
    SELECT heads.queue_class, heads.project_id, (
        SELECT ready_at FROM steps WHERE state = 'ready'
        AND (queue_class, project_id) >= (heads.queue_class, heads.project_id)
        ORDER BY queue_class, project_id, ready_at, position LIMIT 1
    ) AS oldest FROM heads WHERE heads.project_id IS NOT NULL
"""
"""The first of a queue is asked for as `_NEXT` does."""


def _queues_of(count: int) -> sa.TextualSelect:
    """Of so many classes."""
    wanted = ", ".join(f"(:class{number})" for number in range(count))
    return sa.text(_QUEUES.format(wanted=wanted)).columns(
        sa.column("queue_class", sa.String),
        sa.column("project_id", sa.String),
        sa.column("oldest", Instant),
    )


_OF_ONE_CLASS = direct(_queues_of(1))
_ITS_CLASS = sa.bindparam("its_class", type_=sa.String)
_NEXT = (
    sa.select(steps.c.id)
    .where(
        sa.text("steps.state = 'ready'"),
        # As one row and in the index's own order: a planner that believes the queue to be short
        # would read all of it, and sort. What follows the queue is refused below.
        sa.tuple_(steps.c.queue_class, steps.c.project_id)
        >= sa.tuple_(_ITS_CLASS, sa.bindparam("its_project", type_=sa.String)),
    )
    .order_by(steps.c.queue_class, steps.c.project_id, steps.c.ready_at, steps.c.position)
    .limit(1)
    # On PostgreSQL: past those that another coordinator is handing out at this moment.
    .with_for_update(skip_locked=True)
    .scalar_subquery()
)
_TAKE_NEXT = (
    steps.update()
    .where(
        steps.c.id == _NEXT,
        # As expressions, for which no index is tried: the one of its id is right.
        steps.c.queue_class.concat("") == _ITS_CLASS,
        steps.c.project_id.concat("") == sa.bindparam("its_project"),
        # Once more: where writers run beside each other, another may have been quicker.
        steps.c.state == StepState.READY.value,
    )
    .values(holder=sa.bindparam("its_holder"), epoch=steps.c.epoch + 1)
)
_OFFER_NEXT = direct(
    _TAKE_NEXT.values(state=StepState.OFFERED.value).returning(
        steps.c.id, steps.c.build_id, steps.c.epoch
    )
)
_ITS_BUILD = sa.bindparam("its_build", type_=sa.String)
_BEGIN_NEXT = direct(
    _TAKE_NEXT.where(sa.or_(_ITS_BUILD.is_(None), steps.c.build_id == _ITS_BUILD))
    .values(
        state=StepState.RUNNING.value,
        attempt=steps.c.attempt + 1,
        lease_seconds=sa.bindparam("its_lease"),
        started_at=sa.func.coalesce(steps.c.started_at, sa.bindparam("its_start", type_=Instant)),
        exit_code=None,
        reason=None,
        message=None,
        images=sa.null(),
    )
    .returning(*columns(Step, steps))
)


async def waiting_classes(connection: AsyncConnection) -> Sequence[QueueClass]:
    """One for each combination of account, labels and needs that has a ready step."""
    return [_class_of(row) for row in await connection.execute(_CLASSES)]


async def waiting_queues(
    connection: AsyncConnection, suited: Callable[[QueueClass], bool]
) -> Sequence[Queue]:
    """The projects that have ready steps, of the classes that are suited."""
    found: list[Queue] = []
    shared: dict[str, QueueClass] = {}
    for row in await connection.execute(_CLASSES):
        if not suited(one := _class_of(row)):
            continue
        if row.others:
            shared[one.id] = one
        else:
            found.append(Queue(wants=one, project_id=row.project_id, oldest=row.oldest))
    return [*found, *await _queues_of_classes(connection, shared)]


def _class_of(row: Any) -> QueueClass:
    return QueueClass(id=row.id, account_id=row.account_id, labels=row.labels, needs=row.needs)


async def _queues_of_classes(
    connection: AsyncConnection, classes: Mapping[str, QueueClass]
) -> Sequence[Queue]:
    if not classes:
        return []
    query = _OF_ONE_CLASS if len(classes) == 1 else _queues_of(len(classes))
    names = {f"class{number}": id_ for number, id_ in enumerate(classes)}
    return [
        Queue(wants=classes[row.queue_class], project_id=row.project_id, oldest=row.oldest)
        for row in await connection.execute(query, names)
    ]


_WAITING = (
    sa.select(
        steps.c.queue_class,
        steps.c.project_id,
        sa.func.count().label("steps"),
        sa.func.min(steps.c.ready_at, type_=Instant).label("oldest"),
    )
    .where(sa.text("state = 'ready'"))
    .group_by(steps.c.queue_class, steps.c.project_id)
)


async def waiting_steps(connection: AsyncConnection) -> Sequence[WaitingSteps]:
    """By what they want and whose they are. Reads each of them, so it is for people."""
    classes = {one.id: one for one in await waiting_classes(connection)}
    return [
        WaitingSteps(
            wants=classes[row.queue_class],
            project_id=row.project_id,
            count=row.steps,
            oldest=row.oldest,
        )
        for row in await connection.execute(_WAITING)
    ]


_FIRST_END = sa.select(sa.func.min(steps.c.queue_until)).where(sa.text(WAITS_FOR_A_TIME))


async def first_queue_end(connection: AsyncConnection) -> datetime | None:
    """When a step's time in the queue, for an answer or between two attempts is over next, or
    was."""
    found: datetime | None = (await connection.execute(_FIRST_END)).scalar()
    return found


async def handed_out_per_project(connection: AsyncConnection) -> Mapping[str, int]:
    query = (
        sa.select(steps.c.project_id, sa.func.count().label("steps"))
        .where(sa.text("state IN ('offered', 'running')"))
        .group_by(steps.c.project_id)
    )
    return {row.project_id: row.steps for row in await connection.execute(query)}


async def offer_next(
    connection: AsyncConnection, queue: Queue, holder: str
) -> tuple[str, str, int] | None:
    """Hand the queue's oldest step out in one statement: epoch + 1. None where it has none.

    Returns the ids of the step and its build, and the new epoch.
    """
    found = await connection.execute(
        _OFFER_NEXT,
        {"its_class": queue.wants.id, "its_project": queue.project_id, "its_holder": holder},
    )
    row = found.first()
    return (row.id, row.build_id, row.epoch) if row else None


async def begin_next(
    connection: AsyncConnection,
    queue: Queue,
    holder: str,
    *,
    lease_seconds: float,
    now: datetime,
    build_id: str | None = None,
) -> Step | None:
    """As `offer_next`, and accepted in the same statement: it runs. None also where `build_id` is
    given and the oldest is of another build."""
    found = await connection.execute(
        _BEGIN_NEXT,
        {
            "its_class": queue.wants.id,
            "its_project": queue.project_id,
            "its_holder": holder,
            "its_build": build_id,
            "its_lease": lease_seconds,
            "its_start": now,
        },
    )
    row = found.first()
    return step_of(row) if row else None
