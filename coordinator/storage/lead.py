"""Which of the coordinators that share a PostgreSQL leads: the one row of `coordinator_starts`.

The leader says each second that it is there, by the database's clock. One that says nothing for
SILENT_SECONDS may be put out: its session for writes is ended, and with it its lock, so that it
writes no more, however long it was paused. It is by that lock alone that one writes; this row says
where the others find it, and when they may stop waiting for it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from coordinator.storage.postgresql import (
    QUICK_CONNECTION,
    SILENT_SECONDS,
    WRITER_LOCK,
    Failure,
    PostgresPlace,
    cannot_use,
    engine_of,
    failure_of,
    is_refusal,
)

CERTAIN_SECONDS = 3.0
"""So long after it began to say so a leader may believe that no other was put in its place: less,
since clocks may run apart, and what it answers takes a while to go out."""
_UNDEFINED = {"42P01", "42703"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Leader:
    """As the row has it."""

    number: int
    """Counts the terms."""
    holder: str | None
    """A name for this term alone; None: of one that has no others beside it."""
    address: str | None
    """HOST:PORT where the other coordinators reach it; None: it does not serve yet."""
    key_print: str | None
    """Of the installation's key; None: nobody has told it yet."""
    silent_seconds: float | None
    """None: it has gone, or has no others beside it."""

    @property
    def is_there(self) -> bool:
        return self.silent_seconds is not None and self.silent_seconds <= SILENT_SECONDS


class LeadRow:
    """Blocking, for one thread. `close` it."""

    def __init__(self, place: PostgresPlace) -> None:
        """Raises DatabaseUnusable without the driver."""
        self.place = place
        self._engine = engine_of(place, isolation_level="AUTOCOMMIT", connection=QUICK_CONNECTION)

    def turn(self, holder: str | None) -> Leader | None:
        """Say that `holder` is there, if it leads; who does, None where the schema knows of none.

        Raises DatabaseUnusable where waiting does not help, DBAPIError otherwise.
        """
        try:
            with self._engine.connect() as connection:
                while True:
                    row = connection.execute(_TURN, {"holder": holder}).one()
                    # Where another's claim was in the way, it is seen as it was before that.
                    if row.told or row.holder != holder or row.silent_seconds is None:
                        break
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) in _UNDEFINED:
                return None
            if failure_of(error) is not Failure.AWAY or is_refusal(error):
                raise cannot_use(self.place, error) from error
            raise
        found = Leader(**{name: row._mapping[name] for name in _OF_LEADER})
        return replace(found, silent_seconds=0.0) if row.told else found

    def put_out(self) -> int:
        """End the session of a silent leader; how many that were. Raises DBAPIError."""
        with self._engine.connect() as connection:
            return len(connection.execute(_PUT_OUT, _LOCK).all())

    def step_down(self, holder: str) -> None:
        """Let the others not wait. Raises DBAPIError."""
        with self._engine.connect() as connection:
            connection.execute(_STEP_DOWN, {"holder": holder})

    def close(self) -> None:
        self._engine.dispose()


_TURN = sa.text(
    "WITH told AS (UPDATE coordinator_starts SET beat_at = clock_timestamp()"
    " WHERE holder = :holder AND beat_at IS NOT NULL RETURNING 1)"
    " SELECT number, holder, address, key_print,"
    " extract(epoch FROM clock_timestamp() - beat_at)::float8 AS silent_seconds,"
    " (SELECT count(*) FROM told) AS told FROM coordinator_starts"
)
_OF_LEADER = [one.name for one in fields(Leader)]
_LOCK = {"high": WRITER_LOCK >> 32, "low": WRITER_LOCK & 0xFFFFFFFF, "seconds": SILENT_SECONDS}
_PUT_OUT = sa.text(
    "SELECT pg_terminate_backend(held.pid) FROM pg_locks AS held, coordinator_starts AS row"
    " WHERE held.locktype = 'advisory' AND held.granted AND held.objsubid = 1"
    " AND held.classid::bigint = :high AND held.objid::bigint = :low"
    " AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    " AND row.beat_at < clock_timestamp() - make_interval(secs => :seconds)"
)
_STEP_DOWN = sa.text(
    "UPDATE coordinator_starts SET beat_at = NULL, address = NULL WHERE holder = :holder"
)
