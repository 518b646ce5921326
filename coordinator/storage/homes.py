"""The coordinators that agents are at, of several: the rows of `homes`.

Each says every second that it is there, by the database's clock, and what the agents that it has
said of themselves. One that is silent for SILENT_SECONDS may be taken for gone: whoever hears of an
agent that is at it takes that agent. It may live, and hear of the agent once more: then it takes it
back, by a transaction, as all do. Which one an agent is at is said by `agents.home` alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from coordinator.storage.postgresql import (
    QUICK_CONNECTION,
    SILENT_SECONDS,
    PostgresPlace,
    engine_of,
)

GONE_SECONDS = 3 * SILENT_SECONDS
"""The agents of one that is silent for so long have had the time to be heard of elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """As its row has it."""

    name: str
    address: str
    """HOST:PORT where other coordinators reach it."""
    silent_seconds: float
    version: int
    """Counts what it has said of its agents."""
    agents: str | None
    """What it says of them, as JSON; None where that version is known."""

    @property
    def is_there(self) -> bool:
        return self.silent_seconds <= SILENT_SECONDS

    @property
    def is_gone(self) -> bool:
        return self.silent_seconds > GONE_SECONDS


class HomeRows:
    """Blocking, for one thread. `close` it. Its methods raise DBAPIError."""

    def __init__(self, place: PostgresPlace) -> None:
        self._engine = engine_of(place, isolation_level="AUTOCOMMIT", connection=QUICK_CONNECTION)

    def turn(
        self, name: str, address: str, agents: str | None, known: Mapping[str, int]
    ) -> Sequence[Home]:
        """Say that `name` is there, and what its agents are, or None where that has not changed.
        All the others; the versions of some are `known`."""
        versions = [f"{version} {home}" for home, version in known.items()]
        with self._engine.connect() as connection:
            connection.execute(_BEAT, {"name": name, "address": address, "agents": agents})
            found = connection.execute(_OTHERS, {"name": name, "known": versions}).all()
        return [Home(**row._mapping) for row in found]

    def forget(self, name: str) -> None:
        """It is gone, or will not be heard of any more."""
        with self._engine.connect() as connection:
            connection.execute(_FORGET, {"name": name})

    def put_out(self, name: str) -> int:
        """End the sessions of one that is silent: it may have died with rows locked, and what it
        wakes up to is no longer its turn. How many those were."""
        with self._engine.connect() as connection:
            return len(connection.execute(_PUT_OUT, {"session": session_name(name)}).all())

    def close(self) -> None:
        self._engine.dispose()


def session_name(home: str) -> str:
    """Of the sessions by which it writes."""
    return f"pushrod {home}"


_BEAT = sa.text(
    "INSERT INTO homes (name, address, beat_at, version, agents) VALUES (:name, :address,"
    " clock_timestamp(), 0, coalesce(CAST(:agents AS TEXT), '[]')) ON CONFLICT (name) DO UPDATE SET"
    " address = excluded.address, beat_at = excluded.beat_at,"
    " version = homes.version + CASE WHEN CAST(:agents AS TEXT) IS NULL THEN 0 ELSE 1 END,"
    " agents = coalesce(CAST(:agents AS TEXT), homes.agents)"
)
_OTHERS = sa.text(
    "SELECT name, address, version,"
    " CASE WHEN version || ' ' || name = ANY(:known) THEN NULL ELSE agents END AS agents,"
    " extract(epoch FROM clock_timestamp() - beat_at)::float8 AS silent_seconds"
    " FROM homes WHERE name <> :name"
)
_FORGET = sa.text("DELETE FROM homes WHERE name = :name")
_PUT_OUT = sa.text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE application_name = :session AND datname = current_database()"
)
