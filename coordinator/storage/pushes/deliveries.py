"""The inbox of webhooks."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from coordinator.domain.pushes.deliveries import Delivery, DeliveryState
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.marks import UNMARKED, Known, read_page
from coordinator.storage.pages import Pages, Stretch, shown_rows
from coordinator.storage.rows import columns, reader
from coordinator.storage.tables import deliveries, projects

_delivery = reader(Delivery, state=DeliveryState)
_all = sa.select(*columns(Delivery, deliveries))
_SHOWN = shown_rows(deliveries, *columns(Delivery, deliveries))
_WAITING = sa.text("deliveries.state = 'received'")


async def insert_delivery(connection: AsyncConnection, delivery: Delivery) -> None:
    values = {
        column.name: getattr(delivery, column.name) for column in columns(Delivery, deliveries)
    }
    values |= {"payload": dict(delivery.payload), "builds": list(delivery.builds)}
    await connection.execute(deliveries.insert().values(**values))
    await connection.execute(
        projects.update()
        .where(projects.c.id == delivery.project_id)
        .values(delivery_count=projects.c.delivery_count + 1)
    )


async def find_delivery(
    connection: AsyncConnection, project_id: str, delivery_id: str
) -> Delivery | None:
    """By the forge's id of it."""
    query = _all.where(
        deliveries.c.project_id == project_id, deliveries.c.delivery_id == delivery_id
    )
    row = (await connection.execute(query)).first()
    return _delivery(row) if row else None


async def update_delivery(connection: AsyncConnection, id_: str, **values: Any) -> None:
    await connection.execute(deliveries.update().where(deliveries.c.id == id_).values(**values))


async def list_deliveries(
    connection: AsyncConnection, project_id: str, limit: int, offset: int, known: Known = UNMARKED
) -> tuple[Sequence[Delivery], int]:
    """Newest first, and how many there are."""
    total = await count_deliveries(connection, project_id)
    page = await read_page(
        connection,
        delivery_pages(project_id),
        _SHOWN,
        _delivery,
        total=total,
        limit=limit,
        offset=offset,
        known=known,
    )
    return page, total


def delivery_pages(project_id: str) -> Pages:
    return Pages(table=deliveries, stretches=[Stretch(of=[(deliveries.c.project_id, project_id)])])


async def count_deliveries(connection: AsyncConnection, project_id: str) -> int:
    count = sa.select(projects.c.delivery_count).where(projects.c.id == project_id)
    return int((await connection.execute(count)).scalar_one_or_none() or 0)


async def waiting_deliveries(
    connection: AsyncConnection, limit: int, busy: Collection[str]
) -> Sequence[Delivery]:
    """Those still to be processed, of projects that are not busy, the one due first in front."""
    query = _all.where(_WAITING, deliveries.c.project_id.not_in(list(busy))).order_by(
        deliveries.c.next_try_at.nulls_first(), deliveries.c.received_at, deliveries.c.id
    )
    return [_delivery(row) for row in await connection.execute(query.limit(limit))]


async def ended_before(
    connection: AsyncConnection, project_id: str, instant: datetime, limit: int
) -> Sequence[str]:
    """Ids of a project's deliveries that were received before and wait for nothing."""
    query = (
        sa.select(deliveries.c.id)
        .where(
            deliveries.c.project_id == project_id,
            deliveries.c.received_at < instant,
            deliveries.c.state != DeliveryState.RECEIVED.value,
        )
        .limit(limit)
    )
    return list((await connection.execute(query)).scalars())


async def delete_deliveries(
    connection: AsyncConnection, project_id: str, ids: Collection[str]
) -> int:
    """How many of these went; one that was taken into the inbox again meanwhile stays."""
    deleted = await connection.execute(
        deliveries.delete().where(
            deliveries.c.project_id == project_id,
            deliveries.c.id.in_(list(ids)),
            deliveries.c.state != DeliveryState.RECEIVED.value,
        )
    )
    await connection.execute(
        projects.update()
        .where(projects.c.id == project_id)
        .values(delivery_count=projects.c.delivery_count - deleted.rowcount)
    )
    return deleted.rowcount
