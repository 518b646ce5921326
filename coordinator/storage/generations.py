"""The installation's generations: one row for each restore."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa

from coordinator.domain.generation import Generation, first_epoch
from coordinator.domain.lifecycle import FINISHED_STEP
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.rows import reader
from coordinator.storage.tables import generations, steps

_generation = reader(Generation)


async def newest_generation(connection: AsyncConnection) -> Generation | None:
    """None where nothing was ever restored."""
    query = sa.select(generations).order_by(generations.c.number.desc()).limit(1)
    row = (await connection.execute(query)).first()
    return None if row is None else _generation(row)


async def enter_generation(
    connection: AsyncConnection, generation: Generation, now: datetime
) -> None:
    """Steps that are open count from its first epoch."""
    finished = [state.value for state in FINISHED_STEP]
    await connection.execute(
        steps.update().where(steps.c.state.not_in(finished)).values(epoch=generation.first_epoch)
    )
    await connection.execute(
        generations.update().where(generations.c.number == generation.number).values(entered_at=now)
    )


def begin_generation(path: Path, *, backed_up_at: datetime, restored_at: datetime) -> Generation:
    """In a database file that nobody uses, of this version's schema. Blocking."""
    engine = sa.create_engine(
        sa.URL.create("sqlite"), creator=lambda: sqlite3.connect(path), poolclass=sa.NullPool
    )
    with engine.begin() as connection:
        number, counted = connection.execute(
            sa.select(sa.func.max(generations.c.number), sa.func.max(generations.c.first_epoch))
        ).one()
        used = connection.execute(sa.select(sa.func.max(steps.c.epoch))).scalar_one()
        generation = Generation(
            number=(number or 1) + 1,
            first_epoch=first_epoch(restored_at, highest=max(counted or 0, used or 0)),
            backed_up_at=backed_up_at,
            restored_at=restored_at,
        )
        connection.execute(
            generations.insert().values(
                number=generation.number,
                first_epoch=generation.first_epoch,
                backed_up_at=backed_up_at,
                restored_at=restored_at,
            )
        )
    with closing(sqlite3.connect(path)) as plain:
        plain.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return generation
