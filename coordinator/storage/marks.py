"""Where about every so-many-th entry of a long list stands: a page in its middle is walked to from
one.

Marks are in memory. They are made by walking the list once, in the background, and nobody tells
them what becomes of it. Whoever uses them asks, in the same transaction, whether they still hold,
which costs little for what these lists are: up to an edge entries go, and never come. A new row's
ordinal is above all others, as long as the row at the edge is there; and what has moved last is
sorted behind all that moved before. So if the list's counter, less the entries beyond the edge,
says as many as there were when the marks were made, each of these stands where it stood.

Where what comes stands last, the edge is the last mark, and that is all. A new build's number may
be any: by numbers the edge is near the newest build, and how many of those beyond it stand up to a
mark is counted each time.

A state is an exception that is counted: up to the edge a build that had not ended may end, and
come. Those that have not can also only go, so if they are as many as before, none has come.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, TypeVar

import sqlalchemy as sa

from coordinator.domain.listing import NO_MARK, Window, nearest, window_of
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.pages import Pages

T = TypeVar("T")
Key = tuple[Any, ...]
STEP = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """Of one list, from its least key on."""

    step: int = STEP
    keys: Sequence[Key] = ()
    ranks: Sequence[int] = ()
    """How many entries stood up to each, of those up to the edge."""
    edge: Key = ()
    """A key in the order in which they come."""
    edge_id: str | None = None
    """Of the row there."""
    entries: int = 0
    """Up to the edge."""
    comers: int = 0
    """What was not in the list, up to the edge, and may come."""


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
    if marks is not None and window.offset > marks.step:
        window = _from_a_mark(pages, window, await ranks_of(connection, pages, marks, total), total)
        mark = None if window.mark == NO_MARK else marks.keys[window.mark]
    return await pages.read(connection, shown, window, read, mark)


def _from_a_mark(pages: Pages, window: Window, ranks: Sequence[int], total: int) -> Window:
    if pages.ascending:
        return nearest(window, total=total, ranks=ranks)
    up = nearest(replace(window, backwards=not window.backwards), total=total, ranks=ranks)
    return replace(up, backwards=not up.backwards)


async def ranks_of(
    connection: AsyncConnection, pages: Pages, marks: Marks, total: int
) -> Sequence[int]:
    """How many of the list's entries, `total` now, stand up to each mark; none if they don't
    hold."""
    if not marks.keys:
        return ()
    most = marks.step if pages.comes_within else 3 * marks.step
    above = pages.as_they_come.beyond(marks.edge, up=True).limit(most)
    asked = _at(pages, marks.edge).add_columns(
        sa.select(sa.func.count()).select_from(above.subquery("above_it")).scalar_subquery()
    )
    *now, beyond = (await connection.execute(asked)).one()
    as_then = [marks.edge_id, marks.comers]
    if beyond == most or total - beyond != marks.entries or now != as_then:
        return ()
    if not pages.comes_within:
        return marks.ranks
    late = await _sorted_keys(connection, pages, above)
    return _raised(marks.ranks, marks.keys, late, 1)


async def further(
    connection: AsyncConnection, pages: Pages, marks: Marks, total: int, step: int = STEP
) -> Marks:
    """With those that are missing, or anew if they don't hold; the same if none is missing.

    The newest entries are beyond the edge: there builds still end. A million entries take some
    tenths of a second, in one transaction: between two, an entry that goes could hide one that
    comes.
    """
    ranks = list(await ranks_of(connection, pages, marks, total))
    if any(above - below > 2 * step for below, above in pairwise([0, *ranks])):
        ranks = []  # so many have come between two
    held, keys = bool(ranks), list(marks.keys) if ranks else []
    while total >= (rank := ranks[-1] if ranks else 0) + step + step // 8:
        following = pages.beyond(keys[-1] if keys else None, up=True)
        found = (await connection.execute(following.limit(1).offset(step - 1))).first()
        if found is None:
            break
        keys.append(tuple(found))
        ranks.append(rank + step)
    is_near = not pages.comes_within or total - marks.entries <= step // 8
    if held and len(keys) == len(marks.keys) and is_near:
        return marks
    return await _edged(connection, pages, Marks(step=step, keys=keys, ranks=ranks), total)


async def _edged(connection: AsyncConnection, pages: Pages, marks: Marks, total: int) -> Marks:
    """The marks with an edge, if there are any; they come with their ranks in the whole list."""
    if not marks.keys:
        return marks
    edge, entries, ranks = marks.keys[-1], marks.ranks[-1], marks.ranks
    if pages.comes_within:
        newest = pages.as_they_come.beyond(None, up=False).limit(marks.step // 16 + 1)
        late = await _sorted_keys(connection, pages, newest)
        edge = (min(key[-1] for key in late),)
        late = [key for key in late if key[-1:] != edge]
        entries = total - len(late)
        ranks = _raised(ranks, marks.keys, late, -1)
    edge_id, comers = (await connection.execute(_at(pages, edge))).one()
    return replace(marks, ranks=ranks, edge=edge, edge_id=edge_id, entries=entries, comers=comers)


def _raised(
    ranks: Sequence[int], keys: Sequence[Key], late: Sequence[Key], by: int
) -> Sequence[int]:
    """Each rank of a key, for each of the sorted `late` ones up to it."""
    marks = zip(ranks, keys, strict=True)
    return [rank + by * bisect_right(late, key) for rank, key in marks]


async def _sorted_keys(
    connection: AsyncConnection, pages: Pages, ordinals: sa.Select[Any]
) -> list[Key]:
    """Read row by row: by itself PostgreSQL would rather read those of all others in between."""
    keys = sa.select(*pages.keys).where(pages.table.c.ordinal.in_(ordinals))
    return sorted(map(tuple, (await connection.execute(keys)).all()))


def _at(pages: Pages, edge: Key) -> sa.Select[Any]:
    """The id of the row there, and how many up to it may come.

    These are counted from above. There are few: below may be all that were ever held, in pages of
    the table that have changed, which PostgreSQL has to look into.
    """
    ordinal = pages.table.c.ordinal
    its_id = sa.select(pages.table.c.id).where(ordinal == edge[-1]).scalar_subquery()
    comers: sa.ColumnElement[int] = sa.literal(0)
    if (may_come := pages.comers) is not None:
        above = sa.select(sa.func.count()).where(may_come.are, ordinal > edge[-1])
        comers = may_come.all_of_them.scalar_subquery() - above.scalar_subquery()
    return sa.select(its_id.label("edge_id"), comers.label("comers"))
