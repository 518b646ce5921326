"""Where every so-many-th entry of a long list stands: a page in its middle is walked to from one.

Marks are in memory. They are made by walking the list once, in the background, and nobody tells
them what becomes of it. Whoever uses them asks, in the same transaction, whether they still hold,
which costs little for what these lists are: up to the last mark entries go, and never come. A new
row's ordinal is above all others, as long as the row at the last mark is there; and what has moved
last is sorted behind all that moved before. So if the list's counter, less the entries above the
last mark, says as many as there were when the marks were made, each of them stands where it stood.

A state is an exception that is counted: up to the last mark a build that had not ended may end, and
come. Those that have not can also only go, so if they are as many as before, none has come.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import sqlalchemy as sa

from coordinator.domain.listing import NO_MARK, Window, nearest, window_of
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.pages import Pages

T = TypeVar("T")
STEP = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """Of one list, from its least key on."""

    step: int = STEP
    keys: tuple[tuple[Any, ...], ...] = ()
    """Of the entries number `step`, twice `step` and so on."""
    last_id: str | None = None
    """Of the row at the last one."""
    comers: int = 0
    """What was not in the list, up to the last one, and may come."""


Known = Mapping[Hashable, Marks]
UNMARKED: Known = {}


async def read_page(
    connection: AsyncConnection,
    pages: Pages,
    shown: sa.Select[Any],
    read: Callable[[Any], T],
    *,
    total: int,
    limit: int,
    offset: int,
    known: Known,
) -> list[T]:
    """What `read` makes of the rows of a list of `total`, which are found by `shown_rows`."""
    window, mark = window_of(total=total, limit=limit, offset=offset), None
    marks = known.get(pages.key)
    if (
        marks is not None
        and window.offset > marks.step
        and await hold(connection, pages, marks, total)
    ):
        window = _from_a_mark(pages, window, marks, total)
        mark = None if window.mark == NO_MARK else marks.keys[window.mark]
    return await pages.read(connection, shown, window, read, mark)


def _from_a_mark(pages: Pages, window: Window, marks: Marks, total: int) -> Window:
    up = nearest(
        window if pages.ascending else replace(window, backwards=not window.backwards),
        total=total,
        step=marks.step,
        marks=len(marks.keys),
    )
    return up if pages.ascending else replace(up, backwards=not up.backwards)


async def hold(connection: AsyncConnection, pages: Pages, marks: Marks, total: int) -> bool:
    """Whether each of them stands where it stood, if the list has `total` entries now."""
    if not marks.keys:
        return False
    last = marks.keys[-1]
    above = pages.beyond(last, up=True).limit(3 * marks.step).subquery("above_it")
    asked = sa.select(
        sa.select(sa.func.count()).select_from(above).scalar_subquery().label("above"),
        _id_at(pages, last).scalar_subquery().label("last_id"),
        _comers(pages, last).label("comers"),
    )
    now = (await connection.execute(asked)).one()
    stay = total - now.above == marks.step * len(marks.keys)
    return bool(stay and now.last_id == marks.last_id and now.comers == marks.comers)


async def further(
    connection: AsyncConnection, pages: Pages, marks: Marks | None, total: int, step: int = STEP
) -> Marks:
    """With those that are missing, or anew if they don't hold; the same if none is missing.

    The newest entries get none: there builds still end. A million entries take some tenths of a
    second, in one transaction: between two, an entry that goes could hide one that comes.
    """
    if marks is None or not await hold(connection, pages, marks, total):
        marks = Marks(step=step)
    keys = list(marks.keys)
    while total >= (len(keys) + 1) * step + step // 8:
        following = pages.beyond(keys[-1] if keys else None, up=True)
        found = (await connection.execute(following.limit(1).offset(step - 1))).first()
        if found is None:
            break
        keys.append(tuple(found))
    if len(keys) == len(marks.keys):
        return marks
    asked = sa.select(
        _id_at(pages, keys[-1]).scalar_subquery().label("last_id"),
        _comers(pages, keys[-1]).label("comers"),
    )
    now = (await connection.execute(asked)).one()
    return Marks(step=step, keys=tuple(keys), last_id=now.last_id, comers=now.comers)


def _id_at(pages: Pages, key: tuple[Any, ...]) -> sa.Select[Any]:
    return sa.select(pages.table.c.id).where(pages.table.c.ordinal == key[-1])


def _comers(pages: Pages, key: tuple[Any, ...]) -> sa.ColumnElement[int]:
    if pages.comers is None:
        return sa.literal(0)
    below = pages.table.c.ordinal <= key[-1]
    return sa.select(sa.func.count()).where(pages.comers, below).scalar_subquery()
