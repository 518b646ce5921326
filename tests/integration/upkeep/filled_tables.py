"""Rows in every table there is, with values of every kind that its columns take."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from coordinator.storage.tables import Instant, metadata

ROWS = 7
MANY, MANY_ROWS = "audit_log", 1_200
"""A table that does not go over at once."""
TEXTS = (
    "plain",
    "",
    "ä 漢 🙂",
    "a\ttab, a\nline, a \\ and a \\N",
    "'quotes\"",
    "\x01\x7f",
    "\\x00",
)
DOCUMENTS: tuple[Any, ...] = (
    {"a": [1, 2.5, None, True]},
    [],
    "ü\0",
    5,
    None,
    {"nested": {"n": "\ud800"}},
    "back\\slash",
)
BYTES = (b"", bytes(range(256)), b"\0", b"\\x00", b"\xff" * 5000, b"\n", b"\\.")
NUMBERS = (0, 1, -1, 2**31 - 1, -(2**31), 42, 7)
LARGE = (0, 2**63 - 1, -(2**63), 1, 2**53 + 1, -1, 7)
FRACTIONS = (0.0, 0.1, -1e300, 5e-324, 1 / 3, 2.0, 1e15 + 0.3)


def fill(path: Path) -> None:
    """Each column, but those that tell rows apart or name others, takes each value once."""
    with closing(sqlite3.connect(path)) as connection:
        for table in metadata.sorted_tables:
            connection.execute(f'DELETE FROM "{table.name}"')
            rows = [list(_row(table, number)) for number in range(_count(table))]
            names = ", ".join(f'"{column.name}"' for column in table.columns)
            places = ", ".join("?" * len(table.columns))
            connection.executemany(f'INSERT INTO "{table.name}" ({names}) VALUES ({places})', rows)
        connection.commit()


def _count(table: sa.Table) -> int:
    return MANY_ROWS if table.name == MANY else ROWS


def _row(table: sa.Table, number: int) -> Iterator[Any]:
    kind = number % ROWS
    for column in table.columns:
        if column.foreign_keys:
            [key] = column.foreign_keys
            # Also one that comes later in the same table.
            yield _told_apart(key.column, (kind + (key.column.table is table)) % ROWS)
        elif column.primary_key or _is_unique(table, column):
            yield _told_apart(column, number)
        elif column.nullable and kind == ROWS - 1:
            yield None
        else:
            yield _value(column, kind)


def _is_unique(table: sa.Table, column: sa.Column[Any]) -> bool:
    uniques = [one for one in table.constraints if isinstance(one, sa.UniqueConstraint)]
    indexes = [one for one in table.indexes if one.unique]
    return any(column.name in one.columns for one in (*uniques, *indexes))


def _told_apart(column: sa.Column[Any], number: int) -> Any:
    if isinstance(column.type, sa.Boolean):
        return number % 2
    if isinstance(column.type, sa.Integer | Instant):
        return number + 1
    return f"{column.table.name[:10]} {number} ü"


def _value(column: sa.Column[Any], kind: int) -> Any:
    match column.type:
        case sa.JSON():
            return json.dumps(DOCUMENTS[kind])
        case sa.Boolean():
            return kind % 2
        case sa.LargeBinary():
            return BYTES[kind]
        case Instant() | sa.BigInteger():
            return LARGE[kind]
        case sa.Float():
            return FRACTIONS[kind]
        case sa.Integer():
            return NUMBERS[kind]
        case sa.Text() | sa.String():
            length = getattr(column.type, "length", None)
            return TEXTS[kind][:length]
    raise NotImplementedError(f"{column.table.name}.{column.name} is a {column.type!r}")
