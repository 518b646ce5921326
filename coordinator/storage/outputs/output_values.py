"""What the scripts of a build's steps handed on, kept with their attempts."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa

from coordinator.domain.steps.output_values import HandedOn
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.tables import attempts, builds, steps

_OF_BUILD = (
    sa.select(steps.c.id, steps.c.name, steps.c.depends_on, steps.c.answer, attempts.c.outputs)
    .join(
        attempts,
        sa.and_(attempts.c.step_id == steps.c.id, attempts.c.epoch == steps.c.epoch),
        isouter=True,
    )
    .where(steps.c.build_id == sa.bindparam("its_build"))
    .order_by(steps.c.position)
)
_MARK = builds.update().where(builds.c.id == sa.bindparam("its_build")).values(has_outputs=True)


async def mark_build(connection: AsyncConnection, build_id: str) -> None:
    """From now on what its steps handed on is looked for."""
    await connection.execute(_MARK, {"its_build": build_id})


async def values_of_build(connection: AsyncConnection, build_id: str) -> Mapping[str, HandedOn]:
    """By the steps' names, in their order: what the last attempt of each handed on; of a gate, what
    was given with its approval."""
    rows = await connection.execute(_OF_BUILD, {"its_build": build_id})
    return {
        row.name: HandedOn(
            step_id=row.id,
            depends_on=row.depends_on,
            values=row.outputs or (row.answer or {}).get("params", {}),
        )
        for row in rows
    }
