"""Places in groups of steps: who has one, and who is in line for one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

import sqlalchemy as sa

from coordinator.domain.lifecycle import HAS_A_PLACE, StepState
from coordinator.domain.model import Step
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.rows import columns
from coordinator.storage.steps.rows import step_of
from coordinator.storage.tables import builds, projects, steps

_IN_A_GROUP = sa.and_(
    steps.c.concurrency_group.is_not(None),
    sa.text("steps.state IN ('in-line', 'ready', 'offered', 'running')"),
)
"""As the index has it."""
_OF_GROUP = sa.and_(
    _IN_A_GROUP,
    steps.c.account_id == sa.bindparam("its_account"),
    steps.c.concurrency_group == sa.bindparam("its_group"),
)
_HAS_A_PLACE = steps.c.state.in_([state.value for state in HAS_A_PLACE])
_TAKEN = sa.select(sa.func.count()).select_from(steps).where(_OF_GROUP, _HAS_A_PLACE)
_FIRST_IN_LINE = (
    sa.select(*columns(Step, steps))
    .where(_OF_GROUP, steps.c.state == StepState.IN_LINE.value)
    .order_by(steps.c.ready_at, steps.c.position)
    .limit(1)
)


async def places_taken(connection: AsyncConnection, account_id: str, group: str) -> int:
    values = {"its_account": account_id, "its_group": group}
    return int((await connection.execute(_TAKEN, values)).scalar_one())


async def first_in_line(connection: AsyncConnection, account_id: str, group: str) -> Step | None:
    values = {"its_account": account_id, "its_group": group}
    row = (await connection.execute(_FIRST_IN_LINE, values)).first()
    return step_of(row) if row else None


_COUNT_IN_LINE = (
    builds.update()
    .where(
        builds.c.id.in_(
            sa.select(steps.c.build_id).where(_OF_GROUP, steps.c.state == StepState.IN_LINE.value)
        )
    )
    .values(version=builds.c.version + 1, updated_at=sa.bindparam("now"))
    .returning(builds.c.id)
)


async def count_versions_in_line(
    connection: AsyncConnection, account_id: str, group: str, now: datetime
) -> Sequence[str]:
    """Others have the places that they wait for: a new version of each build of which a step is in
    line; their ids."""
    values = {"its_account": account_id, "its_group": group, "now": now}
    return list((await connection.execute(_COUNT_IN_LINE, values)).scalars())


async def groups_in_line(connection: AsyncConnection) -> Sequence[tuple[str, str]]:
    """Account and name of each for which a step is in line."""
    query = (
        sa.select(steps.c.account_id, steps.c.concurrency_group)
        .where(_IN_A_GROUP, steps.c.state == StepState.IN_LINE.value)
        .distinct()
    )
    return [(row.account_id, row.concurrency_group) for row in await connection.execute(query)]


async def holders_of(
    connection: AsyncConnection, account_id: str, groups: Collection[str]
) -> Mapping[str, Sequence[str]]:
    """By group: who has a place in it, as `deploy of shop#12`."""
    query = (
        sa.select(steps.c.concurrency_group, steps.c.name, projects.c.slug, builds.c.number)
        .join(builds, builds.c.id == steps.c.build_id)
        .join(projects, projects.c.id == steps.c.project_id)
        .where(
            _IN_A_GROUP,
            steps.c.account_id == account_id,
            steps.c.concurrency_group.in_(groups),
            _HAS_A_PLACE,
        )
        .order_by(steps.c.ready_at, steps.c.position)
    )
    found: dict[str, list[str]] = {group: [] for group in groups}
    for row in await connection.execute(query):
        found[row.concurrency_group].append(f"{row.name} of {row.slug}#{row.number}")
    return found
