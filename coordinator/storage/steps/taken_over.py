"""Results that a build takes over from an earlier one of its project, by five statements however
many steps it has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from coordinator.domain.model import TAKEN_OVER_EPOCH
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.projects.stored_bytes import add_to_project
from coordinator.storage.tables import (
    artifacts,
    attempts,
    builds,
    output_entries,
    step_results,
    steps,
)

_old, _new = steps.alias("old_steps"), steps.alias("new_steps")
_PAIRS = sa.and_(
    _old.c.build_id == sa.bindparam("old_build"),
    _new.c.build_id == sa.bindparam("new_build"),
    _old.c.name == _new.c.name,
    _new.c.epoch == TAKEN_OVER_EPOCH,
)
_old_row = builds.alias("old_row")
_KEEP_MARK = (
    builds.update()
    .where(builds.c.id == sa.bindparam("new_build"))
    .values(
        has_outputs=sa.select(_old_row.c.has_outputs)
        .where(_old_row.c.id == sa.bindparam("old_build"))
        .scalar_subquery()
    )
)


async def take_over(
    connection: AsyncConnection, project_id: str, *, old_build: str, new_build: str
) -> None:
    """Give the steps that the new build has taken over the last attempts of those they repeat, with
    what these left.

    Logs and blobs stay where they are: see `deletions` for how long.
    """
    builds_of = {"old_build": old_build, "new_build": new_build}
    await connection.execute(_KEEP_MARK, builds_of)
    log_of = sa.func.coalesce(
        attempts.c.log_of,
        attempts.c.step_id.concat("-").concat(sa.cast(attempts.c.epoch, sa.Text)),
    )
    await _copy(
        connection, attempts, builds_of, number=sa.literal(1), given_with=sa.null(), log_of=log_of
    )
    await _copy(connection, output_entries, builds_of)
    number = sa.select(builds.c.number).where(builds.c.id == _new.c.build_id).scalar_subquery()
    await _copy(
        connection,
        step_results,
        builds_of,
        build_id=_new.c.build_id,
        build_number=number,
        taken_over=sa.true(),
    )
    await _copy(connection, artifacts, builds_of)
    size = (
        sa.select(sa.func.coalesce(sa.func.sum(artifacts.c.size), 0))
        .join(_new, _new.c.id == artifacts.c.step_id)
        .where(_new.c.build_id == new_build)
    )
    copied = int((await connection.execute(size)).scalar_one())
    await add_to_project(connection, project_id, copied)


async def _copy(
    connection: AsyncConnection, table: sa.Table, builds_of: Mapping[str, str], **other: Any
) -> None:
    values = {
        column.name: other.get(column.name, column)
        for column in table.columns
        if column.name not in ("step_id", "epoch")
    }
    query = (
        sa.select(_new.c.id, _new.c.epoch, *values.values())
        .select_from(table)
        .join(_old, sa.and_(_old.c.id == table.c.step_id, _old.c.epoch == table.c.epoch))
        .join(_new, _PAIRS)
    )
    names = ["step_id", "epoch", *values]
    await connection.execute(table.insert().from_select(names, query), builds_of)
