"""All rows of every table, as plain values, from one database to another.

Read by batches and written by COPY, so that no table is ever held. What two databases hold is
compared by a sum for each table: the digests of its rows added up, which is the same in whatever
order they come.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from coordinator.storage.postgresql import PostgresPlace, engine_of, words_of
from coordinator.storage.soundness import DatabaseUnusable
from coordinator.storage.tables import Instant, metadata

BATCH_ROWS = 500
BATCH_ROWS_OF_LARGE = 20
"""Of tables whose rows may be large: webhooks that came in, ends of logs."""
_SUM_BITS = 256
_NUL = "\0"
_REPLACED = "\N{REPLACEMENT CHARACTER}"


class CannotCopy(DatabaseUnusable):
    """A table's rows do not go into the other database; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSum:
    """What a table holds; equal where two hold the same rows."""

    rows: int
    digest: str


@dataclass(slots=True)
class _Adding:
    rows: int = 0
    _sum: int = 0

    def add(self, text: str) -> None:
        self.rows += 1
        self._sum += int.from_bytes(hashlib.sha256(text.encode("utf-8", "replace")).digest())

    def result(self) -> TableSum:
        return TableSum(rows=self.rows, digest=f"{self._sum % 2**_SUM_BITS:064x}")


def tables() -> Sequence[sa.Table]:
    """Each after those that its rows name."""
    return metadata.sorted_tables


def open_source(place: Path | PostgresPlace) -> sa.Engine:
    """Nothing can be changed through it. Raises DatabaseUnusable."""
    if isinstance(place, PostgresPlace):
        engine = engine_of(place, isolation_level="REPEATABLE READ")
        sa.event.listen(engine, "connect", _read_only)
        return engine
    address = f"{place.absolute().as_uri()}?mode=ro"
    return sa.create_engine(
        "sqlite://", creator=lambda: sqlite3.connect(address, uri=True), poolclass=sa.NullPool
    )


def _read_only(connection: Any, _record: object) -> None:
    connection.read_only = True


@dataclass(slots=True)
class TableReader:
    engine: sa.Engine
    replaced: dict[str, int] = field(default_factory=dict)
    """By column, texts in which a NUL character was replaced: PostgreSQL can't hold one."""

    def sum(self, table: sa.Table) -> TableSum:
        adding = _Adding()
        for _, text in self._rows(table):
            adding.add(text)
        return adding.result()

    def rows(self, table: sa.Table, adding: _Adding) -> Iterator[Sequence[Any]]:
        for row, text in self._rows(table):
            adding.add(text)
            yield row

    def _rows(self, table: sa.Table) -> Iterator[tuple[Sequence[Any], str]]:
        """With a text that tells any two rows apart: None, numbers, texts and bytes have each
        their own literal."""
        query = sa.select(*map(_plain, table.columns))
        for column in table.columns:
            self.replaced.pop(str(column), None)
        with self.engine.connect() as connection:
            found = connection.execution_options(yield_per=_batch(table)).execute(query)
            for row in found:
                values = tuple(row)
                text = repr(values)
                # A hint that costs nothing: it may also be a backslash that somebody wrote.
                if r"\x00" in text:
                    values = tuple(map(self._without_nul, table.columns, values))
                    text = repr(values)
                yield values, text

    def _without_nul(self, column: sa.Column[Any], value: Any) -> Any:
        if not isinstance(value, str) or _NUL not in value:
            return value
        name = str(column)
        self.replaced[name] = self.replaced.get(name, 0) + 1
        return value.replace(_NUL, _REPLACED)


def _plain(column: sa.Column[Any]) -> sa.ColumnElement[Any]:
    """As it is stored: JSON as its text, a time as its number."""
    if isinstance(column.type, sa.JSON):
        return sa.cast(column, sa.Text)
    if isinstance(column.type, Instant):
        return sa.type_coerce(column, sa.BigInteger)
    return column


def _batch(table: sa.Table) -> int:
    large = any(
        isinstance(column.type, sa.LargeBinary) or column.name == "payload"
        for column in table.columns
    )
    return BATCH_ROWS_OF_LARGE if large else BATCH_ROWS


@dataclass(slots=True)
class TableWriter:
    """Into PostgreSQL."""

    place: PostgresPlace
    engine: sa.Engine

    def is_empty(self, table: sa.Table) -> bool:
        with self.engine.connect() as connection:
            return connection.execute(sa.select(sa.exists(sa.select(table)))).scalar_one() is False

    def clear(self, some: Sequence[sa.Table]) -> None:
        """All rows of these, which must have every table in it that names one of them."""
        names = ", ".join(_quoted(table.name) for table in some)
        with self.engine.begin() as connection:
            connection.exec_driver_sql(f"TRUNCATE {names}")

    def copy(self, source: TableReader, table: sa.Table, tell: Callable[[], None]) -> TableSum:
        """All of it or nothing: in one transaction, by one COPY, so that rows may name each other.

        `tell` is called with each batch. Returns what was read. Raises CannotCopy, DBAPIError.
        """
        adding = _Adding()
        columns = ", ".join(_quoted(column.name) for column in table.columns)
        command = f"COPY {_quoted(table.name)} ({columns}) FROM STDIN"
        with self.engine.begin() as connection:
            driver: Any = connection.connection.driver_connection
            try:
                with driver.cursor() as cursor, cursor.copy(command) as copy:
                    for row in source.rows(table, adding):
                        copy.write_row(row)
                        if adding.rows % BATCH_ROWS == 0:
                            tell()
            except _driver_error(self.engine) as error:
                raise self._told(table, error) from error
        return adding.result()

    def follow_numbers(self, source: TableReader) -> None:
        """What the database numbers itself goes on behind the source's last one, also where that
        row is gone: nobody must have a number twice."""
        for table in tables():
            column = table.autoincrement_column
            if column is None:
                continue
            last = _last_number(source.engine, table, column)
            with self.engine.begin() as connection:
                connection.execute(
                    sa.text("SELECT setval(pg_get_serial_sequence(:table, :column), :last, :used)"),
                    {
                        "table": table.name,
                        "column": column.name,
                        "last": last or 1,
                        "used": last > 0,
                    },
                )

    def finish(self) -> None:
        """What plans of queries stand on; by itself the server would come to it later."""
        with self.engine.begin() as connection:
            connection.exec_driver_sql("ANALYZE")

    def _told(self, table: sa.Table, error: Exception) -> Exception:
        """The database's own words, if it is the rows that it does not take."""
        state = getattr(error, "sqlstate", None) or ""
        if state[:2] not in ("22", "23"):
            wrapped: Exception = sa.exc.DBAPIError("COPY", None, error)
            return wrapped
        return CannotCopy(
            f"PostgreSQL does not take a row of the table {table.name}: {words_of(error)}; mend "
            "it in the source and run this again"
        )


def _driver_error(engine: sa.Engine) -> type[Exception]:
    driver: Any = engine.dialect.dbapi
    kind: type[Exception] = driver.Error
    return kind


def _last_number(engine: sa.Engine, table: sa.Table, column: sa.Column[Any]) -> int:
    """0 where there was none yet."""
    with engine.connect() as connection:
        highest = connection.execute(sa.select(sa.func.max(column))).scalar() or 0
        if engine.dialect.name == "sqlite":
            kept = sa.text("SELECT seq FROM sqlite_sequence WHERE name = :table")
            given = connection.execute(kept, {"table": table.name}).scalar()
        else:
            sequence = sa.text("SELECT pg_sequence_last_value(pg_get_serial_sequence(:t, :c))")
            given = connection.execute(sequence, {"t": table.name, "c": column.name}).scalar()
    return max(int(highest), int(given or 0))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


# What is in a database before anything is moved to it

UNFINISHED = "unfinished_move"
"""A table that is there while rows are moved to its database: no coordinator starts on half of
them. It holds the number of that move."""
_OWN = frozenset({"alembic_version", "coordinator_starts", "homes", UNFINISHED})
_SEEDED = frozenset({"retention"})
"""Tables that a new database has rows in."""
_NAMES = sa.text(
    "SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema()"
)


def unfinished_move(engine: sa.Engine) -> str | None:
    """Its number. Raises DBAPIError."""
    with engine.connect() as connection:
        if connection.execute(sa.text(f"SELECT to_regclass('{UNFINISHED}')")).scalar() is None:
            return None
        found = connection.execute(sa.text(f"SELECT id FROM {UNFINISHED}")).scalar()  # noqa: S608
        return str(found)


def begin_move(engine: sa.Engine, move: str) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE TABLE {UNFINISHED} (id TEXT NOT NULL)")
        connection.execute(
            sa.text(f"INSERT INTO {UNFINISHED} VALUES (:id)"),  # noqa: S608
            {"id": move},
        )


def end_move(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql(f"DROP TABLE IF EXISTS {UNFINISHED}")


def occupied_by(writer: TableWriter) -> str | None:
    """What an empty database, or one of this version's schema, has that a new one has not; None if
    it is as good as new."""
    with writer.engine.connect() as connection:
        found = {str(name) for (name,) in connection.execute(_NAMES)}
    ours = {table.name: table for table in tables()}
    if foreign := sorted(found - ours.keys() - _OWN):
        return f"the table {foreign[0]}, which is not of pushrod"
    for name in sorted(found & ours.keys() - _SEEDED):
        if not writer.is_empty(ours[name]):
            return f"rows in the table {name}"
    return None


def refuse_unfinished(place: PostgresPlace) -> None:
    """Raises DatabaseUnusable."""
    engine = engine_of(place)
    try:
        if unfinished_move(engine) is not None:
            raise DatabaseUnusable(
                f"a move to {place} was begun and not finished: run `pushrod migrate` again, it "
                "goes on where it stopped"
            )
    finally:
        engine.dispose()
