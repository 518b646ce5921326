"""Results that a build takes over from an earlier one of its project, by five statements however
many steps it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


def left_by_attempts(
    new_step: sa.ColumnElement[str],
) -> Sequence[tuple[sa.Table, Mapping[str, Any]]]:
    """All that an attempt has and leaves, the attempt first, with the columns that are otherwise
    where it becomes another step's, besides `step_id` and `epoch`."""
    log_of = sa.func.coalesce(
        attempts.c.log_of,
        attempts.c.step_id.concat("-").concat(sa.cast(attempts.c.epoch, sa.Text)),
    )
    its = steps.alias("its_step")
    build_id = sa.select(its.c.build_id).where(its.c.id == new_step).scalar_subquery()
    number = (
        sa.select(builds.c.number)
        .join(its, its.c.build_id == builds.c.id)
        .where(its.c.id == new_step)
        .scalar_subquery()
    )
    results = {"build_id": build_id, "build_number": number, "taken_over": sa.true()}
    return (
        (attempts, {"number": sa.literal(1), "given_with": sa.null(), "log_of": log_of}),
        (output_entries, {}),
        (step_results, results),
        (artifacts, {}),
    )


def columns_of(table: sa.Table, other: Mapping[str, Any]) -> dict[str, Any]:
    """What a row of another step's attempt has, by the columns' names."""
    return {
        column.name: other.get(column.name, column)
        for column in table.columns
        if column.name not in ("step_id", "epoch")
    }


async def take_over(
    connection: AsyncConnection, project_id: str, *, old_build: str, new_build: str
) -> None:
    """Give the steps that the new build has taken over the last attempts of those they repeat, with
    what these left.

    Logs and blobs stay where they are: see `deletions` for how long.
    """
    builds_of = {"old_build": old_build, "new_build": new_build}
    await connection.execute(_KEEP_MARK, builds_of)
    for table, other in left_by_attempts(_new.c.id):
        query = (
            sa.select(_new.c.id, _new.c.epoch, *columns_of(table, other).values())
            .select_from(table)
            .join(_old, sa.and_(_old.c.id == table.c.step_id, _old.c.epoch == table.c.epoch))
            .join(_new, _PAIRS)
        )
        names = ["step_id", "epoch", *columns_of(table, other)]
        await connection.execute(table.insert().from_select(names, query), builds_of)
    size = (
        sa.select(sa.func.coalesce(sa.func.sum(artifacts.c.size), 0))
        .join(_new, _new.c.id == artifacts.c.step_id)
        .where(_new.c.build_id == new_build)
    )
    copied = int((await connection.execute(size)).scalar_one())
    await add_to_project(connection, project_id, copied)
