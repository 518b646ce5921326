"""Rows into the domain's frozen values. A value's fields are named as the columns are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import cache
from typing import Any, TypeVar

import sqlalchemy as sa

T = TypeVar("T")


def reader(
    of: type[T],
    /,
    of_row: Mapping[str, Callable[[Mapping[Any, Any]], Any]] | None = None,
    prefix: str = "",
    **convert: Callable[[Any], Any],
) -> Callable[[Any], T]:
    """A function from row to value; `convert` names the fields that need a type of their own,
    `of_row` those that are made of several columns. `prefix` stands before the columns' names."""
    names = [field.name for field in fields(of)]  # type: ignore[arg-type]

    def read(row: sa.Row[Any]) -> T:
        mapping: Mapping[Any, Any] = row._mapping
        values = {name: mapping[prefix + name] for name in names}
        for name, function in convert.items():
            values[name] = function(values[name])
        for name, make in (of_row or {}).items():
            values[name] = make(mapping)
        return of(**values)

    return read


def columns(kind: type[Any], table: sa.Table) -> Sequence[sa.Column[Any]]:
    """The table's columns that `kind` has fields for."""
    known: Any = kind  # mypy holds no type[Any] for hashable
    return _columns(known, table)


@cache
def _columns(kind: Any, table: sa.Table) -> Sequence[sa.Column[Any]]:
    return tuple(table.c[field.name] for field in fields(kind) if field.name in table.c)


def values_of(kind: type[Any], table: sa.Table, thing: Any) -> dict[str, Any]:
    """The values of those columns."""
    return {column.name: getattr(thing, column.name) for column in columns(kind, table)}
