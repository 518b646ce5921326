"""At what times the workflows of projects are built."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from coordinator.domain.pushes.schedule import Schedule
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.rows import columns, reader
from coordinator.storage.tables import schedules
from pipelines_schema import ScheduleTrigger

_schedule = reader(Schedule, definition=ScheduleTrigger.from_json)
_selected = sa.select(*columns(Schedule, schedules))


async def of_project(connection: AsyncConnection, project_id: str) -> Sequence[Schedule]:
    query = _selected.where(schedules.c.project_id == project_id)
    return [_schedule(row) for row in await connection.execute(query)]


async def due(connection: AsyncConnection, now: datetime, limit: int) -> Sequence[Schedule]:
    """The longest due first."""
    query = _selected.where(schedules.c.next_at <= now).order_by(schedules.c.next_at).limit(limit)
    return [_schedule(row) for row in await connection.execute(query)]


async def first_time(connection: AsyncConnection) -> datetime | None:
    query = sa.select(sa.func.min(schedules.c.next_at))
    found: datetime | None = (await connection.execute(query)).scalar_one_or_none()
    return found


async def claim(connection: AsyncConnection, schedule: Schedule, following: datetime) -> bool:
    """Whether this transaction is the one that answers for the schedule's time."""
    claimed = await connection.execute(
        schedules.update()
        .where(schedules.c.id == schedule.id, schedules.c.next_at == schedule.next_at)
        .values(next_at=following)
    )
    return claimed.rowcount == 1


async def insert(connection: AsyncConnection, added: Sequence[Schedule]) -> None:
    if added:
        await connection.execute(schedules.insert(), [_values(one) for one in added])


async def delete(connection: AsyncConnection, ids: Collection[str]) -> None:
    await connection.execute(schedules.delete().where(schedules.c.id.in_(ids)))


def _values(schedule: Schedule) -> dict[str, Any]:
    values = {field.name: getattr(schedule, field.name) for field in fields(schedule)}
    return {**values, "definition": schedule.definition.to_json()}
