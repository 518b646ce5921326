"""One page out of an index: first the ids, then what is shown of them.

SQLite and PostgreSQL skip an offset one by one. In an index that has the list's order, and all
that its conditions ask for, that costs some 20 ns each; rows of the table would cost a hundred
times that. So the ids are found in the index alone, walked from the nearer end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from coordinator.domain.listing import Window

T = TypeVar("T")


async def page_ids(
    connection: AsyncConnection,
    arms: Sequence[sa.Select[Any]],
    keys: Sequence[str],
    *,
    ascending: bool,
    window: Window,
) -> list[str]:
    """The page's ids, in order.

    `arms` select `id` and the `keys`, each in the order of an index; together they are the list,
    which is merged from them as it is read.
    """
    if not window.count:
        return []
    source = arms[0] if len(arms) == 1 else sa.union_all(*arms)
    direction = sa.asc if ascending != window.backwards else sa.desc
    query = source.order_by(*(direction(key) for key in keys))
    found = await connection.execute(query.limit(window.count).offset(window.offset))
    ids = [row.id for row in found]
    return ids[::-1] if window.backwards else ids


async def rows_of(
    connection: AsyncConnection,
    query: sa.Select[Any],
    id_column: sa.Column[Any],
    ids: Sequence[str],
    read: Callable[[Any], T],
) -> list[T]:
    """What `read` makes of the rows of these ids, in their order."""
    if not ids:
        return []
    rows = await connection.execute(query.where(id_column.in_(ids)))
    by_id = {row.id: row for row in rows}
    return [read(by_id[key]) for key in ids if key in by_id]
