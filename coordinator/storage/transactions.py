"""What runs in a transaction, and how: the part that SQLite and PostgreSQL have in common.

A transaction is one visit to a thread, not one for each statement: there the driver is called
directly, so that the coroutine of a `Work` runs to its end without ever being suspended. That costs
half of what an asynchronous driver does. A work therefore awaits nothing but its connection, and
runs in another thread than the event loop's: it changes nothing but the database, and so can be run
again where a transaction must be.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar, cast

import sqlalchemy as sa

from coordinator.storage.connection import AsyncConnection
from coordinator.storage.direct_statements import DirectStatements, is_direct

T = TypeVar("T")
Work = Callable[[AsyncConnection], Coroutine[Any, Any, T]]


class TransactionMayNotWait(RuntimeError):
    """A transaction awaits its database and nothing else: others wait for it to end."""


class NotIsolated(Exception):
    """It goes further than the rows that it has locked: it must be run isolated."""


@dataclass(slots=True, eq=False)
class Write(Generic[T]):
    work: Work[T]
    committed: Callable[[T], None] | None
    done: asyncio.Future[T]
    locks_rows: bool = False
    """It locks the rows that it decides by, and needs no other isolation, as far as it knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Of a write: committed unless there is an error."""

    write: Write[Any]
    result: Any = None
    announced: Sequence[Callable[[], None]] = field(default=())
    """What is to be told."""
    error: Exception | None = None


class Transactions(Protocol):
    """Of one kind of database. Its methods block, in threads of the caller's."""

    is_shared: bool
    """Others may write beside it."""

    def write(self, writes: Sequence[Write[Any]]) -> Sequence[Outcome]:
        """Commit them together, except those that fail. Raises nothing. An outcome may come that
        was not known before: of an earlier write that was said to have failed. By one thread."""

    def read(self, work: Work[T]) -> T:
        """By any thread."""

    def size(self) -> int:
        """Of all that is stored, in bytes. By any thread."""

    def stop_waiting(self) -> None:
        """What does not answer now is not asked again. By any thread."""

    def close(self) -> None: ...


def run_each(
    connection: sa.Connection,
    writes: Sequence[Write[Any]],
    statements: DirectStatements | None = None,
    spoils_all: Callable[[Exception], bool] = lambda _: False,
) -> list[Outcome]:
    """In a transaction that has begun: one that fails undoes itself alone.

    Raises what undoes the transaction: what a write alone raises, and what `spoils_all`.
    """
    outcomes = []
    for write in writes:
        seen = DirectConnection(connection, statements, locks_rows=write.locks_rows)
        try:
            # A write alone needs no savepoint: what undoes it undoes the transaction.
            with connection.begin_nested() if len(writes) > 1 else nullcontext():
                result = run(write.work(cast("AsyncConnection", seen)))
        except Exception as refusal:  # handed to the caller of write
            if len(writes) == 1 or spoils_all(refusal):
                raise
            outcomes.append(Outcome(write=write, error=refusal))
        else:
            outcomes.append(Outcome(write=write, result=result, announced=seen.announced))
    return outcomes


def run(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that awaits nothing but a connection of ours. Blocking."""
    try:
        while True:
            if work.send(None) is not None:
                work.close()
                raise TransactionMayNotWait
    except StopIteration as end:
        result: T = end.value
        return result


class DirectConnection:
    """What a work sees: written as for an asynchronous driver, but never suspended."""

    def __init__(
        self,
        connection: sa.Connection,
        statements: DirectStatements | None = None,
        *,
        locks_rows: bool = False,
    ) -> None:
        """`statements` runs those that are for the driver itself; without it they are like all."""
        self.locks_rows = locks_rows
        self._direct = connection
        self._statements = statements
        self.announced: list[Callable[[], None]] = []

    @property
    def dialect(self) -> sa.Dialect:
        return self._direct.dialect

    async def execute(
        self, statement: Any, parameters: Any = None, **options: Any
    ) -> sa.CursorResult[Any]:
        if self._statements is not None and is_direct(statement):
            found: sa.CursorResult[Any] = self._statements.run(self._direct, statement, parameters)
            return found
        return self._direct.execute(statement, parameters, **options)

    async def exec_driver_sql(
        self, statement: str, parameters: Any = None, execution_options: Any = None
    ) -> sa.CursorResult[Any]:
        return self._direct.exec_driver_sql(statement, parameters, execution_options)


def direct(
    connection: sa.Connection, statements: DirectStatements | None = None
) -> AsyncConnection:
    """It has what works call of an AsyncConnection; being one would load what makes real ones."""
    return cast("AsyncConnection", DirectConnection(connection, statements))


def locks_rows(connection: AsyncConnection) -> bool:
    """Whether the work is to lock the rows that it decides by: it runs beside other writers, and
    sees what they commit meanwhile."""
    return cast("DirectConnection", connection).locks_rows


def isolate(connection: AsyncConnection) -> None:
    """What follows decides by more than the rows that the work has locked: raises NotIsolated where
    it is not isolated, upon which the work is run again, isolated. Nothing otherwise."""
    if locks_rows(connection):
        raise NotIsolated


def after_commit(connection: AsyncConnection, tell: Callable[[], None]) -> None:
    """Have it called on the event loop once the transaction of `write` is durable, after the
    write's own `committed`; never if the work fails."""
    cast("DirectConnection", connection).announced.append(tell)
