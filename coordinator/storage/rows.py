"""Rows into the domain's frozen values. A value's fields are named as the columns are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import cache
from operator import attrgetter
from typing import Any, TypeVar

import sqlalchemy as sa

T = TypeVar("T")


def reader(
    of: type[T],
    /,
    of_row: Mapping[str, Callable[[Any], Any]] | None = None,
    prefix: str = "",
    **convert: Callable[[Any], Any],
) -> Callable[[Any], T]:
    """A function from row to value; `convert` names the fields that need a type of their own,
    `of_row` those that are made of several columns. `prefix` stands before the columns' names."""
    names = [field.name for field in fields(of)]  # type: ignore[arg-type]
    if taken := {prefix + name for name in names}.intersection(_OF_EVERY_ROW):
        raise TypeError(f"a row's own: {taken}")
    get = attrgetter(*(prefix + name for name in names))
    made_of_rows = of_row or {}

    def read(row: Any) -> T:
        values = dict(zip(names, get(row), strict=True))
        for name, function in convert.items():
            values[name] = function(values[name])
        for name, make in made_of_rows.items():
            values[name] = make(row)
        return of(**values)

    return read


_OF_EVERY_ROW = ("count", "index", "t", "tuple")
"""What is no column of a row, whatever its columns are called."""


def columns(kind: type[Any], table: sa.Table) -> Sequence[sa.Column[Any]]:
    """The table's columns that `kind` has fields for."""
    known: Any = kind  # mypy holds no type[Any] for hashable
    return _columns(known, table)


@cache
def _columns(kind: Any, table: sa.Table) -> Sequence[sa.Column[Any]]:
    return tuple(table.c[field.name] for field in fields(kind) if field.name in table.c)


@cache
def _names(kind: Any, table: sa.Table) -> Sequence[str]:
    return [column.name for column in _columns(kind, table)]


def values_of(kind: type[Any], table: sa.Table, thing: Any) -> dict[str, Any]:
    """The values of those columns."""
    known: Any = kind
    return {name: getattr(thing, name) for name in _names(known, table)}
