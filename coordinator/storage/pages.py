"""One page out of an index: first the ordinals, then the rows that are shown.

SQLite and PostgreSQL skip an offset one by one. In an index that has the list's order, and all
that its conditions ask for, that costs little; rows of the table would cost a hundred times that.
So the page is found in the index alone, walked from the nearer end.

The list of an account or a project is walked without asking at each entry whether it has ended,
which makes up half of the cost: its counter says that the page lies within. Whatever the counter
says, the rows that are shown are asked whose they are.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import sqlalchemy as sa

from coordinator.domain.listing import Window
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.direct_statements import direct

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

    def has(self, row: Any) -> bool:
        """Whether a row that was found otherwise has the values."""
        return all(getattr(row, column.name) == value for column, value in self.of)


def shown_rows(table: sa.Table, *shown: sa.ColumnElement[Any]) -> sa.Select[Any]:
    """The rows of a page, made once for each of these lists: `shown` has what a value is made of,
    and all by which one of its stretches is known."""
    ordinals: sa.BindParameter[int] = sa.bindparam("ordinals", expanding=True)
    return direct(sa.select(*shown, table.c.ordinal).where(table.c.ordinal.in_(ordinals)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Comers:
    """Rows that are not in a list and may come into it, where they stand."""

    all_of_them: sa.Select[Any]
    """How many there are, which a counter says."""
    are: sa.ColumnElement[bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pages:
    """A list of a table's rows, in the order of `by` (where named) and then of the ordinal.

    Its stretches are of indexes that have that order; they are merged as they are read.
    """

    table: sa.Table
    stretches: Sequence[Stretch]
    by: str | None = None
    ascending: bool = False
    comes_within: bool = False
    """What comes has an ordinal above all others, but may stand anywhere; else it stands last."""
    steady: bool = True
    """Nothing comes otherwise, unless it is of the `comers`."""
    comers: Comers | None = None

    @property
    def key(self) -> Hashable:
        """Of the list, in either direction, among those that may have marks; None: of none."""
        if len(self.stretches) != 1 or not self.steady:
            return None
        alone = self.stretches[0]
        if alone.only is not None:
            return None
        return self.table.name, self.by, *((column.name, value) for column, value in alone.of)

    @property
    def as_they_come(self) -> Pages:
        """The same entries, what comes last."""
        return replace(self, by=None, comes_within=False) if self.comes_within else self

    @property
    def keys(self) -> Sequence[sa.Column[Any]]:
        """By which it is sorted."""
        return [self.table.c[key] for key in (self.by, "ordinal") if key]

    async def read(
        self,
        connection: AsyncConnection,
        shown: sa.Select[Any],
        window: Window,
        read: Callable[[Any], T],
        mark: tuple[Any, ...] | None = None,
    ) -> list[T]:
        """What `read` makes of the window's `shown_rows`, in order; `mark` is the key of the entry
        where the walk begins, if not at an end."""
        if not window.count:
            return []
        if mark is not None:
            walk = self.beyond(mark, up=self.ascending != window.backwards)
            found = await connection.execute(walk.limit(window.count).offset(window.offset))
        else:
            merges = connection.dialect.name == "sqlite"
            found = await connection.execute(self._walk(window, merges=merges))
        ordinals = [row.ordinal for row in found]
        rows = await connection.execute(shown, {"ordinals": ordinals})
        by_ordinal = {row.ordinal: row for row in rows if self._has(row)}
        if window.backwards:
            ordinals.reverse()
        return [read(by_ordinal[ordinal]) for ordinal in ordinals if ordinal in by_ordinal]

    def beyond(self, key: tuple[Any, ...] | None, *, up: bool) -> sa.Select[Any]:
        """The keys above this one, or down from it, of a list that is one stretch; None: all."""
        keys, direction = self.keys, sa.asc if up else sa.desc
        beyond: sa.ColumnElement[bool] = sa.true()
        if key is not None and len(keys) == 1:
            beyond = keys[0] > key[0] if up else keys[0] <= key[0]
        elif key is not None:
            # As one value: so it is where the walk of an index begins.
            mine, its = sa.tuple_(*keys), sa.tuple_(*key, types=[one.type for one in keys])
            beyond = mine > its if up else mine <= its
        condition = self.stretches[0].condition()
        return sa.select(*keys).where(condition, beyond).order_by(*map(direction, keys))

    def _walk(self, window: Window, *, merges: bool) -> sa.Select[Any] | sa.CompoundSelect[Any]:
        """`merges`: the database merges stretches by itself. PostgreSQL doesn't, before its
        version 17, but for such as have an order and an end of their own."""
        up = self.ascending != window.backwards
        keys, direction = self.keys, sa.asc if up else sa.desc
        order: list[sa.UnaryExpression[Any]] = [direction(key.name) for key in keys]
        whole: sa.Select[Any] | sa.CompoundSelect[Any] = sa.select(*keys)
        if (beginning := self._beginning()) is not None:
            column, value = beginning
            whole = sa.select(*keys).where(column >= value if up else column <= value)
            order.insert(0, direction(column.name))
        elif len(self.stretches) == 1:
            whole = sa.select(*keys).where(self.stretches[0].condition())
        else:
            arms = [sa.select(*keys).where(stretch.condition()) for stretch in self.stretches]
            if not merges:
                end = window.offset + window.count
                arms = [sa.select(arm.order_by(*order).limit(end).subquery()) for arm in arms]
            whole = sa.union_all(*arms)
        return whole.order_by(*order).limit(window.count).offset(window.offset)

    def _beginning(self) -> tuple[sa.Column[Any], str] | None:
        """Of a list that can be walked without asking where it ends: SQLite asks nothing only of
        a single column's `>=`."""
        first = self.stretches[0]
        alone = len(self.stretches) == 1 and first.only is None and len(first.of) == 1
        return first.of[0] if alone else None

    def _has(self, row: Any) -> bool:
        return any(stretch.has(row) for stretch in self.stretches)
