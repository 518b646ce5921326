"""Statements that each step needs, given to the database's driver itself.

SQLAlchemy compiles them, once. To run one that it has compiled takes it four times as long as
SQLite's driver takes for it: a third of what the coordinator does for a step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.sql.compiler import SQLCompiler

from coordinator.storage.found_rows import Found, RowMaker, maker_of

_OPTION = "pushrod_direct"
_SIZES = (1, 2, 3, 4, 8, 20, 50, 100)
"""To one of these the values of an IN are filled up, by the last one: each number of them is a
statement of its own. With more, SQLAlchemy runs it."""

Convert = Callable[[Any], Any]
Statement = TypeVar("Statement", bound=sa.Executable)


def direct(statement: Statement) -> Statement:
    """The statement, made once and never derived from, which the driver is given as it is.

    Its result has rows, if it has columns, and nothing else: no `rowcount`.
    """
    return statement.execution_options(**{_OPTION: True})


def is_direct(statement: Any) -> bool:
    return _OPTION in statement._execution_options


class _Unfit(Exception):
    """SQLAlchemy runs it."""


class _Compiled:
    """A statement for parameters of these names, and so many values of each IN."""

    def __init__(self, statement: Any, dialect: sa.Dialect, parameters: Mapping[str, Any]) -> None:
        """Raises _Unfit, and KeyError for a parameter that is missing."""
        compiled: SQLCompiler = statement.compile(dialect=dialect, column_keys=sorted(parameters))
        if compiled.insert_prefetch or compiled.update_prefetch:
            raise _Unfit
        for name, bind in compiled.binds.items():
            if bind.required and name not in parameters:
                raise KeyError(name)
        self.of = statement  # kept, for its id is the key
        self._fixed: dict[str, Any] = {
            name: bind.effective_value for name, bind in compiled.binds.items() if not bind.required
        }
        expanded = compiled.construct_expanded_state(dict(parameters), escape_names=False)
        self.sql = expanded.statement
        places = {
            one: (name, place)
            for name, names in expanded.parameter_expansion.items()
            for place, one in enumerate(names)
        }
        self._slots: list[tuple[str, int | None, Convert | None]] = []
        """Of each place in the text: the parameter, which value of its list, and how it is
        written."""
        for one in expanded.positiontup or ():
            name, place = places.get(one, (one, None))
            self._slots.append((name, place, _writing(compiled.binds[name].type, dialect)))
        self._dialect, self._columns = dialect, _columns_of(statement)
        self._rows: RowMaker | None = None

    def values(self, parameters: Mapping[str, Any]) -> Sequence[Any]:
        """Raises KeyError for one that is missing."""
        given = {**self._fixed, **parameters} if self._fixed else parameters
        values = []
        for name, place, convert in self._slots:
            value = given[name]
            if place is not None:
                value = value[place] if place < len(value) else value[-1]
            values.append(value if convert is None else convert(value))
        return values

    def result(self, cursor: Any) -> Found:
        if not self._columns:
            return Found(())
        if self._rows is None:  # now the driver knows of what types they are
            self._rows = maker_of(
                [str(column.key) for column in self._columns],
                [
                    _reading(column.type, self._dialect, described[1])
                    for column, described in zip(self._columns, cursor.description, strict=True)
                ],
            )
        return Found(self._rows(cursor.fetchall()))


class DirectStatements:
    """Those of one kind of database, whose parameters stand in order; of any thread, and of all
    connections, whichever engine they are of."""

    def __init__(self) -> None:
        self._in_lists: dict[int, tuple[Any, Sequence[str]]] = {}
        self._compiled: dict[Any, _Compiled | None] = {}

    def run(self, connection: sa.Connection, statement: Any, parameters: Any) -> Any:
        """As `connection.execute(…)`. Raises sqlalchemy.exc.DBAPIError, KeyError."""
        many = isinstance(parameters, list)
        dialect = connection.dialect
        compiled = self._find(statement, dialect, parameters[0] if many else parameters or {})
        if compiled is None:
            return connection.execute(statement, parameters)
        values: Any
        if many:
            values = [compiled.values(each) for each in parameters]
        else:
            values = compiled.values(parameters or {})
        cursor: Any = None
        try:
            driver: Any = connection.connection.driver_connection
            cursor = driver.cursor()
            # As SQLAlchemy tells them: `tests/integration/statements.py` counts.
            for tell in connection.dispatch.before_cursor_execute:
                tell(connection, cursor, compiled.sql, values, None, many)
            if many:
                cursor.executemany(compiled.sql, values)
            else:
                cursor.execute(compiled.sql, values)
            found = compiled.result(cursor)
            cursor.close()
        except dialect.loaded_dbapi.Error as error:
            # It knows what a connection's end looks like, and puts the connection aside.
            connection._handle_dbapi_exception(error, compiled.sql, values, cursor, None)
        return found

    def _find(
        self, statement: Any, dialect: sa.Dialect, parameters: Mapping[str, Any]
    ) -> _Compiled | None:
        key: Any
        sizes: tuple[int | None, ...] = ()
        if lists := self._lists_of(statement, dialect):
            sizes = tuple([_size_for(len(parameters[name])) for name in lists])
            key = (id(statement), tuple(parameters), sizes)
        else:
            key = (id(statement), tuple(parameters))
        try:
            return self._compiled[key]
        except KeyError:
            if None in sizes:
                return None
        room = {name: range(size or 0) for name, size in zip(lists, sizes, strict=True)}
        try:
            made = _Compiled(statement, dialect, {**parameters, **room})
        except _Unfit:
            made = None
        self._compiled[key] = made
        return made

    def _lists_of(self, statement: Any, dialect: sa.Dialect) -> Sequence[str]:
        """The parameters that are the values of an IN."""
        known = self._in_lists.get(id(statement))
        if known is None:
            compiled = statement.compile(dialect=dialect)
            known = statement, [one.key for one in compiled.post_compile_params if one.required]
            self._in_lists[id(statement)] = known
        return known[1]


def _size_for(count: int) -> int | None:
    """None where it is none of ours."""
    return next((size for size in _SIZES if size >= count), None) if count else None


def _columns_of(statement: Any) -> Sequence[sa.ColumnElement[Any]]:
    if isinstance(statement, sa.TextClause):
        return ()
    return tuple(statement.exported_columns)


def _writing(kind: sa.types.TypeEngine[Any], dialect: sa.Dialect) -> Convert | None:
    return kind.dialect_impl(dialect).bind_processor(dialect)


def _reading(kind: sa.types.TypeEngine[Any], dialect: sa.Dialect, code: Any) -> Convert | None:
    """`code` is the driver's, of the type that it found."""
    return kind.dialect_impl(dialect).result_processor(dialect, code)
