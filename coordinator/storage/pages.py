"""One page out of an index: first the ordinals, then the rows that are shown.

SQLite and PostgreSQL skip an offset one by one. In an index that has the list's order, and all
that its conditions ask for, that costs little; rows of the table would cost a hundred times that.
So the page is found in the index alone, walked from the nearer end.

The list of an account or a project is walked without asking at each entry whether it has ended,
which makes up half of the cost: its counter says that the page lies within. Whatever the counter
says, the rows that are shown are asked whose they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import sqlalchemy as sa

from coordinator.domain.listing import Window
from coordinator.storage.connection import AsyncConnection

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """The part of an index in which its first columns have these values."""

    of: Sequence[tuple[sa.Column[Any], str]] = ()
    only: sa.ColumnElement[bool] | None = None
    """Some of it, by what the index has besides; such a stretch is not known to be whole."""

    def condition(self) -> sa.ColumnElement[bool]:
        conditions = [column == value for column, value in self.of]
        return sa.and_(sa.true(), *conditions, *([] if self.only is None else [self.only]))

    def check(self) -> sa.ColumnElement[bool]:
        """The same of a row found otherwise: as expressions, for which no index is tried."""
        return sa.and_(sa.true(), *(column.concat("") == value for column, value in self.of))


@dataclass(frozen=True, slots=True, kw_only=True)
class Pages:
    """A list of a table's rows, in the order of `by` (where named) and then of the ordinal.

    Its stretches are of indexes that have that order; they are merged as they are read.
    """

    table: sa.Table
    stretches: Sequence[Stretch]
    by: str | None = None
    ascending: bool = False

    async def read(
        self,
        connection: AsyncConnection,
        shown: sa.Select[Any],
        window: Window,
        read: Callable[[Any], T],
    ) -> list[T]:
        """What `read` makes of the columns `shown` of the window's rows, in order."""
        if not window.count:
            return []
        found = await connection.execute(
            self._walk(up=self.ascending != window.backwards)
            .limit(window.count)
            .offset(window.offset)
        )
        ordinals = [row.ordinal for row in found]
        rows = await connection.execute(self._rows(shown, ordinals))
        by_ordinal = {row.ordinal: row for row in rows}
        if window.backwards:
            ordinals.reverse()
        return [read(by_ordinal[ordinal]) for ordinal in ordinals if ordinal in by_ordinal]

    def _walk(self, *, up: bool) -> sa.Select[Any] | sa.CompoundSelect[Any]:
        keys = [self.table.c[key] for key in (self.by, "ordinal") if key]
        query, direction = sa.select(*keys), sa.asc if up else sa.desc
        if (beginning := self._beginning()) is not None:
            column, value = beginning
            query = query.where(column >= value if up else column <= value)
            return query.order_by(*(direction(key) for key in (column, *keys)))
        arms = [query.where(stretch.condition()) for stretch in self.stretches]
        whole = arms[0] if len(arms) == 1 else sa.union_all(*arms)
        return whole.order_by(*(direction(key.name) for key in keys))

    def _beginning(self) -> tuple[sa.Column[Any], str] | None:
        """Of a list that can be walked without asking where it ends: SQLite asks nothing only of
        a single column's `>=`."""
        first = self.stretches[0]
        alone = len(self.stretches) == 1 and first.only is None and len(first.of) == 1
        return first.of[0] if alone else None

    def _rows(self, shown: sa.Select[Any], ordinals: Sequence[int]) -> sa.Select[Any]:
        checks = sa.or_(*(stretch.check() for stretch in self.stretches))
        ordinal = self.table.c.ordinal
        return shown.add_columns(ordinal).where(ordinal.in_(ordinals), checks)
