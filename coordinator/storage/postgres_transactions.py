"""Transactions over PostgreSQL, which are run again where they must be.

Writes are SERIALIZABLE: where two that ran beside each other would not have come to the same one
after the other, one of them fails and is run again, whatever they read. Reads see one moment. A
write that locks the rows it decides by is READ COMMITTED instead: it sees what others committed
before it got them, and makes nobody run again who does not change the same rows.

One coordinator writes: its connection for writes holds a lock of the database's, and one that was
taken over ends. What a commit came to whose answer was lost is asked of the server afterwards.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy.exc import DBAPIError

from coordinator.storage.direct_statements import DirectStatements
from coordinator.storage.migrate import known_revisions
from coordinator.storage.postgresql import (
    BESIDE_LOCK,
    SILENT_SECONDS,
    WRITER_LOCK,
    Failure,
    PostgresPlace,
    cannot_use,
    check_server,
    engine_of,
    failure_of,
    in_our_words,
    is_refusal,
    revision_of,
    words_of,
)
from coordinator.storage.soundness import DatabaseUnusable, check_known
from coordinator.storage.transactions import (
    NotIsolated,
    Outcome,
    T,
    Work,
    Write,
    direct,
    run,
    run_each,
)
from coordinator.storage.trouble import DatabaseTrouble, Trouble

log = structlog.get_logger()

COLLISIONS_MAX = 20
COLLISIONS_PATIENCE = 3
"""After so many it has what others hand out by to itself: it may be long, and they come often."""
COLLISION_SECONDS = 0.05
PAUSE_SECONDS, PAUSE_SECONDS_MAX = 0.05, 2.0
OTHER_ENDS_SECONDS = 2.0
"""One that was just killed is still connected for a moment."""
_STATEMENTS = DirectStatements()


class TakenOver(DatabaseUnusable):
    """Another coordinator has begun to write since."""

    trouble = Trouble.TAKEN_OVER


class AnotherWrites(DatabaseUnusable):
    """Another coordinator writes."""


@dataclass(slots=True)
class _Patience:
    """Growing pauses, up to a bound in all."""

    seconds: float
    stopping: threading.Event
    _pause: float = PAUSE_SECONDS
    _began: float = field(default_factory=time.monotonic)

    def pause(self) -> bool:
        """False: it has waited long enough."""
        left = self._began + self.seconds - time.monotonic()
        if left <= 0 or self.stopping.wait(min(self._pause, left)):
            return False
        self._pause = min(self._pause * 2, PAUSE_SECONDS_MAX)
        return True


class PostgresTransactions:
    """`take` it, bring the schema up to date, `begin`; then it reads and writes."""

    def __init__(self, place: PostgresPlace, *, wait_seconds: float, readers: int) -> None:
        """What finds no server waits `wait_seconds` for one."""
        self._place, self._wait_seconds = place, wait_seconds
        self.is_shared = place.candidate is not None
        self._isolates = True
        self._stopping = threading.Event()
        self._term: int | None = None
        self._unknown: tuple[str, Sequence[Outcome]] | None = None
        """A transaction whose commit was not answered, and what it came to if it was committed."""
        self._writer = engine_of(place, isolation_level="SERIALIZABLE")
        self._reader = engine_of(place, size=readers, isolation_level="REPEATABLE READ")
        sa.event.listen(self._writer, "connect", self._lock)
        sa.event.listen(self._reader, "connect", _read_only)

    def take(self) -> None:
        """Connect, as the one that writes. Raises DatabaseUnusable."""
        patience = self._patience()
        alone = self._place.candidate is None
        others = _Patience(OTHER_ENDS_SECONDS if alone else 0, self._stopping)
        while True:
            try:
                with self._writer.connect() as connection:
                    check_server(connection, self._place)
                return self._claim()
            except _NotYet as error:
                if not others.pause():
                    raise AnotherWrites(str(error)) from error
            except DBAPIError as error:
                if failure_of(error) is not Failure.AWAY or is_refusal(error):
                    raise cannot_use(self._place, error) from error
                if not patience.pause():
                    raise cannot_use(self._place, error) from error

    def _claim(self) -> None:
        """Before migrations, which may take longer than a leader is waited for. A schema that does
        not know of leaders has none who would be put out.

        Raises _NotYet where a leader has but lost the connection that had the lock: until it is
        silent it answers from what it knows.
        """
        candidate = self._place.candidate
        with self._writer.begin() as connection:
            revision = revision_of(connection)
            # Before it stands in the way of one that can lead: it is of a newer version.
            check_known(self._place, revision, known_revisions())
            if (revision or "") < KNOWS_LEADERS:
                return
            asked = {"holder": candidate and candidate.holder, "seconds": SILENT_SECONDS}
            claimed = connection.execute(_CLAIM, asked).rowcount
        if not claimed:
            self._writer.dispose()  # and with it the lock
            raise _NotYet(_TAKEN.format(self._place))

    def begin(self) -> None:
        """Whoever wrote before must not go on where it was. Raises DatabaseUnusable where a leader
        before had another key: what it sealed could not be opened."""
        candidate = self._place.candidate
        with self._writer.begin() as connection:
            if candidate is None:
                self._term = connection.execute(_NEXT_START).scalar_one()
            else:
                self._term = connection.execute(_NEXT_LEADER, asdict(candidate)).scalar()
        if self._term is None:
            raise DatabaseUnusable(f"who led before on {self._place} had another `secret-key`")

    def read(self, work: Work[T]) -> T:
        patience = self._patience()
        while True:
            try:
                with self._reader.connect() as connection, connection.begin():
                    return run(work(direct(connection, _STATEMENTS)))
            except Exception as error:
                if failure_of(error) is None:
                    told = in_our_words(error)
                    if told is error:  # an error that caused itself is one that nobody gets behind
                        raise
                    raise told from error
                if not patience.pause():
                    raise DatabaseTrouble(Trouble.DATABASE_AWAY) from error

    def write(self, writes: Sequence[Write[Any]]) -> Sequence[Outcome]:
        outcomes: list[Outcome] = []
        left, patience, collisions = list(writes), self._patience(), 0
        while True:
            try:
                outcomes += self._ask_of_unknown()
                left = [write for write in left if all(one.write is not write for one in outcomes)]
                alone = self.is_shared and collisions >= COLLISIONS_PATIENCE
                return outcomes + (self._transaction(left, alone) if left else [])
            except NotIsolated as error:
                if not self._isolates:
                    return [*outcomes, *(Outcome(write=write, error=error) for write in left)]
                for write in left:
                    write.locks_rows = False
            except Exception as error:
                failure = failure_of(error)
                if isinstance(error, _NotYet):
                    failure = Failure.AWAY
                collisions += failure is Failure.COLLISION
                if failure is Failure.COLLISION and len(left) > 1:
                    return [*outcomes, *(one for write in left for one in self.write([write]))]
                if failure is Failure.COLLISION and collisions < COLLISIONS_MAX:
                    time.sleep(random.uniform(0, COLLISION_SECONDS))  # noqa: S311 - no secret
                    continue
                if failure is Failure.AWAY and patience.pause():
                    continue
                told = self._told(error, failure)
                return [*outcomes, *(Outcome(write=write, error=told) for write in left)]

    @property
    def term(self) -> int | None:
        """Its number among the starts, once it has begun."""
        return self._term

    def size(self) -> int:
        async def ask(connection: Any) -> int:
            found = await connection.execute(sa.text("SELECT pg_database_size(current_database())"))
            return int(found.scalar_one())

        return self.read(ask)

    def stop_waiting(self) -> None:
        self._stopping.set()

    def close(self) -> None:
        for engine in (self._writer, self._reader):
            engine.dispose()

    def _patience(self) -> _Patience:
        return _Patience(self._wait_seconds, self._stopping)

    def _told(self, error: Exception, failure: Failure | None) -> Exception:
        if failure is None:
            return in_our_words(error)
        log.warning("a transaction failed", error=words_of(error))
        if failure is Failure.COLLISION:
            trouble = Trouble.DATABASE_BUSY
        else:
            trouble = Trouble.DATABASE_AWAY if self._unknown is None else Trouble.DATABASE_UNKNOWN
        told = DatabaseTrouble(trouble)
        told.__cause__ = error
        return told

    def _transaction(self, writes: Sequence[Write[Any]], alone: bool) -> list[Outcome]:
        """`alone`: none beside it that locks rows. Raises what all of them fail by."""
        with self._writer.connect() as connection:
            if all(write.locks_rows for write in writes):
                connection.execution_options(isolation_level="READ COMMITTED")
            transaction = connection.begin()
            try:
                if alone:
                    # Before it sees anything. All that lock rows begin with one of a step.
                    connection.execute(_HAVE_STEPS)
                outcomes = run_each(
                    connection,
                    writes,
                    _STATEMENTS,
                    spoils_all=lambda error: failure_of(error) is not None,
                )
                number = connection.execute(_OWN_NUMBER).scalar()
            except BaseException:
                transaction.rollback()
                raise
            # None: it has changed nothing.
            self._unknown = None if number is None else (number, outcomes)
            try:
                transaction.commit()
            except DBAPIError as error:
                if failure_of(error) is not Failure.AWAY:
                    self._unknown = None
                raise
            self._unknown = None
        return outcomes

    def _ask_of_unknown(self) -> Sequence[Outcome]:
        """Of a commit whose answer was lost; nothing, if there is none or it was undone."""
        if self._unknown is None:
            return []
        number, outcomes = self._unknown
        with self._writer.connect() as connection, connection.begin():
            newest = connection.execute(_NEWEST_NUMBER).scalar_one()
            # One that the server has not come to is of a server that this one was not made from.
            state = "aborted"
            if int(number) < int(newest):
                state = connection.execute(_STATE_OF, {"number": number}).scalar_one()
        if state == "in progress":
            raise _NotYet("the transaction's own session has not ended")
        self._unknown = None
        log.warning("a commit was not answered", state=state)
        return outcomes if state == "committed" else []

    def _lock(self, connection: Any, _record: object) -> None:
        """With each connection for writes: we are the one, and have been since we began."""
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_is_in_recovery()")
                if cursor.fetchone()[0]:
                    raise _NotYet(f"{self._place} is a standby, which takes no writes")
                is_ours = self._has_locked(cursor)
                # Asked after the lock: as long as it is ours nobody else begins.
                if self._term is not None:
                    cursor.execute("SELECT number FROM coordinator_starts")
                    if cursor.fetchone()[0] != self._term:
                        raise TakenOver(
                            f"another coordinator has begun to work on {self._place} while it did "
                            "not answer this one: this one ends"
                        )
                if not is_ours:
                    raise _NotYet(_TAKEN.format(self._place))
            connection.commit()
        except BaseException:
            connection.close()
            raise

    def _has_locked(self, cursor: Any) -> bool:
        return _locked(cursor, "pg_try_advisory_lock", WRITER_LOCK)


class PostgresBeside(PostgresTransactions):
    """Of a coordinator that does not lead: it writes beside the one that does, what rows tell of
    whose it is. Nothing is taken, and nothing begun."""

    def __init__(self, place: PostgresPlace, *, wait_seconds: float, readers: int) -> None:
        super().__init__(place, wait_seconds=wait_seconds, readers=readers)
        self.is_shared = True
        self._isolates = False  # what goes so far is the leader's

    def _has_locked(self, cursor: Any) -> bool:
        return _locked(cursor, "pg_try_advisory_lock_shared", BESIDE_LOCK)


class PostgresAlone(PostgresTransactions):
    """Of who needs that nobody writes beside it either."""

    def _has_locked(self, cursor: Any) -> bool:
        beside = _locked(cursor, "pg_try_advisory_lock", BESIDE_LOCK)
        return beside and super()._has_locked(cursor)


def _locked(cursor: Any, function: str, lock: int) -> bool:
    cursor.execute(f"SELECT {function}(%s)", (lock,))
    return bool(cursor.fetchone()[0])


class _NotYet(Exception):
    """A lock is perhaps held by our own connection, which the server does not know to be lost; a
    standby may become the primary."""


_TAKEN = "another coordinator works on {}: stop it, or give this one a database of its own"
KNOWS_LEADERS = "0054"
"""The migration since which there are columns of who leads."""
_CLAIM = sa.text(
    "UPDATE coordinator_starts SET holder = :holder, address = NULL, beat_at = CASE"
    " WHEN CAST(:holder AS TEXT) IS NULL THEN NULL ELSE clock_timestamp() END"
    " WHERE beat_at IS NULL OR beat_at < clock_timestamp() - make_interval(secs => :seconds)"
)
_NEXT_START = sa.text("UPDATE coordinator_starts SET number = number + 1 RETURNING number")
_NEXT_LEADER = sa.text(
    "UPDATE coordinator_starts SET number = number + 1, holder = :holder, address = :address,"
    " key_print = :key_print, beat_at = clock_timestamp()"
    " WHERE key_print IS NULL OR key_print = :key_print RETURNING number"
)
_HAVE_STEPS = sa.text("LOCK TABLE steps IN EXCLUSIVE MODE")
_OWN_NUMBER = sa.text("SELECT pg_current_xact_id_if_assigned()::text")
_NEWEST_NUMBER = sa.text("SELECT pg_snapshot_xmax(pg_current_snapshot())::text")
_STATE_OF = sa.text("SELECT pg_xact_status(CAST(:number AS xid8))")


def _read_only(connection: Any, _record: object) -> None:
    connection.read_only = True
