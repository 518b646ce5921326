"""Statements that each step needs, given to SQLite's driver itself.

SQLAlchemy compiles them, once. To run one that it has compiled takes it four times as long as the
driver takes for it: a third of what the coordinator does for a step.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine.result import IteratorResult, SimpleResultMetaData
from sqlalchemy.sql.compiler import SQLCompiler

_OPTION = "pushrod_direct"
_FEW = 8
"""Of the values of an IN; with more, of which each number is a statement of its own, SQLAlchemy
runs it."""

Convert = Callable[[Any], Any]
Statement = TypeVar("Statement", bound=sa.Executable)


def direct(statement: Statement) -> Statement:
    """The statement, made once and never derived from, which the driver is given as it is.

    Its result has rows, if it has columns, and nothing else: no `rowcount`.
    """
    return statement.execution_options(**{_OPTION: True})


def is_direct(statement: Any) -> bool:
    return _OPTION in statement.get_execution_options()


_IN = re.compile(r"__\[POSTCOMPILE_(\w+)\]")
"""How SQLAlchemy leaves room for the values of an IN."""


class _Unfit(Exception):
    """SQLAlchemy runs it."""


class _Compiled:
    """A statement for parameters of these names, and so many values of each IN."""

    def __init__(
        self, statement: Any, dialect: sa.Dialect, names: Sequence[str], lists: Mapping[str, int]
    ) -> None:
        """Raises _Unfit."""
        compiled: SQLCompiler = statement.compile(dialect=dialect, column_keys=sorted(names))
        if compiled.insert_prefetch or compiled.update_prefetch:
            raise _Unfit
        self.of = statement  # kept, for its id is the key
        self._fixed: dict[str, Any] = {
            name: bind.effective_value for name, bind in compiled.binds.items() if not bind.required
        }
        counts = {
            (name := compiled.bind_names[bind]): lists.get(name) or len(self._fixed[name])
            for bind in compiled.post_compile_params
        }
        self.sql = _IN.sub(lambda found: ", ".join("?" * counts[found[1]]), str(compiled))
        self._slots: list[tuple[str, int | None, Convert | None]] = []
        """Of each `?`: the parameter, which value of its list, and how it is written."""
        for name in compiled.positiontup or ():
            places = range(counts[name]) if name in counts else [None]
            write = _writing(compiled.binds[name].type, dialect)
            self._slots += [(name, place, write) for place in places]
        self._columns = _columns_of(statement)
        self._rows = SimpleResultMetaData([str(column.key) for column in self._columns])
        self._converters = [
            (place, convert)
            for place, column in enumerate(self._columns)
            if (convert := _reading(column.type, dialect)) is not None
        ]

    def values(self, parameters: Mapping[str, Any]) -> Sequence[Any]:
        """Raises KeyError for one that is missing."""
        given = {**self._fixed, **parameters} if self._fixed else parameters
        values = []
        for name, place, convert in self._slots:
            value = given[name] if place is None else given[name][place]
            values.append(value if convert is None else convert(value))
        return values

    def result(self, found: Sequence[Sequence[Any]]) -> IteratorResult[Any]:
        if not self._converters:
            return IteratorResult(self._rows, iter(found))
        rows = [list(row) for row in found]
        for place, convert in self._converters:
            for row in rows:
                row[place] = convert(row[place])
        return IteratorResult(self._rows, map(tuple, rows))


class DirectStatements:
    """Those of one engine; of any thread."""

    def __init__(self, dialect: sa.Dialect) -> None:
        self._dialect = dialect
        self._in_lists: dict[int, tuple[Any, Sequence[str]]] = {}
        self._compiled: dict[Any, _Compiled | None] = {}

    def run(self, connection: sa.Connection, statement: Any, parameters: Any) -> Any:
        """As `connection.execute(…)`. Raises sqlalchemy.exc.DBAPIError, KeyError."""
        many = isinstance(parameters, list)
        compiled = self._find(statement, parameters[0] if many else parameters or {})
        if compiled is None:
            return connection.execute(statement, parameters)
        driver: Any = connection.connection.driver_connection
        cursor: sqlite3.Cursor = driver.cursor()
        values: Any
        if many:
            values = [compiled.values(each) for each in parameters]
        else:
            values = compiled.values(parameters or {})
        # As SQLAlchemy tells them: `tests/integration/statements.py` counts.
        for tell in connection.dispatch.before_cursor_execute:
            tell(connection, cursor, compiled.sql, values, None, many)
        try:
            if many:
                cursor.executemany(compiled.sql, values)
            else:
                cursor.execute(compiled.sql, values)
            found = cursor.fetchall()
        except sqlite3.Error as error:
            raise sa.exc.DBAPIError.instance(
                compiled.sql, values, error, sqlite3.Error, dialect=self._dialect, ismulti=many
            ) from error
        finally:
            cursor.close()
        return compiled.result(found)

    def _find(self, statement: Any, parameters: Mapping[str, Any]) -> _Compiled | None:
        lists = {name: len(parameters[name]) for name in self._lists_of(statement)}
        key = (id(statement), tuple(parameters), tuple(lists.values()))
        try:
            return self._compiled[key]
        except KeyError:
            if not all(1 <= count <= _FEW for count in lists.values()):
                return None
        try:
            made = _Compiled(statement, self._dialect, list(parameters), lists)
        except _Unfit:
            made = None
        self._compiled[key] = made
        return made

    def _lists_of(self, statement: Any) -> Sequence[str]:
        """The parameters that are the values of an IN."""
        known = self._in_lists.get(id(statement))
        if known is None:
            compiled = statement.compile(dialect=self._dialect)
            known = statement, [one.key for one in compiled.post_compile_params if one.required]
            self._in_lists[id(statement)] = known
        return known[1]


def _columns_of(statement: Any) -> Sequence[sa.ColumnElement[Any]]:
    if isinstance(statement, sa.TextClause):
        return ()
    return tuple(statement.exported_columns)


def _writing(kind: sa.types.TypeEngine[Any], dialect: sa.Dialect) -> Convert | None:
    return kind.dialect_impl(dialect).bind_processor(dialect)


def _reading(kind: sa.types.TypeEngine[Any], dialect: sa.Dialect) -> Convert | None:
    return kind.dialect_impl(dialect).result_processor(dialect, None)
