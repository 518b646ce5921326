"""PostgreSQL: where it is, how it is connected to, and what its errors mean.

The driver (psycopg) is loaded with the first connection, by SQLAlchemy.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, NoSuchModuleError

from coordinator.domain.errors import Invalid
from coordinator.storage.soundness import DatabaseUnusable

OLDEST = 13
CONNECT_SECONDS = 5
_CONNECTION = {
    "client_encoding": "utf8",
    "connect_timeout": CONNECT_SECONDS,
    # A link that was cut without a word is noticed within half a minute, by both ends.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
    "options": (
        "-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3"
        " -c tcp_user_timeout=25000 -c idle_in_transaction_session_timeout=60000"
    ),
}
QUICK_CONNECTION: Mapping[str, Any] = {
    **_CONNECTION,
    "connect_timeout": 2,
    "keepalives_idle": 2,
    "keepalives_interval": 1,
    "tcp_user_timeout": 3_000,
    "options": "-c statement_timeout=3000",
}
"""For what is asked anew in a second: rather no answer than a late one."""
WRITER_LOCK = 0x70757368726F64
"""Of the one coordinator that writes: "pushrod"."""
BESIDE_LOCK = WRITER_LOCK + 2
"""Shared by the coordinators that write beside that one. The number between is of migrations."""
SILENT_SECONDS = 5.0
"""So long a leader of several coordinators may say nothing before another takes its place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A coordinator that has others beside it."""

    holder: str
    """Its name for one try to lead, and no other."""
    address: str
    """HOST:PORT where the others reach it."""
    key_print: str
    """Of the key that it has, which must be the same for all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresPlace:
    url: str
    """postgresql://USER@HOST/NAME, without a password."""
    password_file: Path | None = None
    """None: as PostgreSQL's own programs, from PGPASSWORD or ~/.pgpass."""
    candidate: Candidate | None = None
    """None: who opens it has no others beside it."""
    session: str = "pushrod"
    """What the server shows its connections as."""

    @property
    def name(self) -> str:
        return sa.make_url(self.url).database or ""

    def __str__(self) -> str:
        return self.url


def engine_of(
    place: PostgresPlace,
    *,
    size: int = 1,
    connection: Mapping[str, Any] = _CONNECTION,
    **options: Any,
) -> sa.Engine:
    """Nothing is connected yet. Raises DatabaseUnusable without the driver."""
    try:
        engine = sa.create_engine(
            sa.make_url(place.url).set(drivername="postgresql+psycopg"),
            connect_args={**connection, "application_name": place.session},
            poolclass=sa.QueuePool,
            pool_size=size,
            max_overflow=0,
            use_native_hstore=False,  # or each start asks for a type that no table of ours has
            paramstyle="format",  # in order: `direct_statements` counts on it
            **options,
        )
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        raise DatabaseUnusable(
            f"PostgreSQL ({place}) needs its driver: pip install 'pushrod[postgresql]'"
        ) from error
    if place.password_file is not None:
        sa.event.listen(engine, "do_connect", _with_password(place.password_file))
    return engine


def _with_password(file: Path) -> Any:
    """Read anew for each connection: it may have been changed."""

    def add(_dialect: Any, _record: Any, _arguments: Any, parameters: dict[str, Any]) -> None:
        try:
            parameters["password"] = file.read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise DatabaseUnusable(f"database_password_file {file} can't be read") from error

    return add


class Failure(Enum):
    """What an error means for the transaction that had it."""

    COLLISION = auto()
    """Another was in its way: right if it is run again."""
    AWAY = auto()
    """Its connection is lost, or there is none."""


_COLLISIONS = {"40001", "40P01", "55P03"}
_AWAY = {"57P01", "57P02", "57P03", "25P03", "53300"}
"""Shut down, starting, idle for too long (a process that was paused), too many connections."""
UNIQUE = "23505"


def failure_of(error: BaseException | None) -> Failure | None:
    """None: the work's own fault. Also looks at what caused it: a work may have taken it for that
    of a part which it can do without, or have said it in words of its own."""
    seen: set[int] = set()  # whoever raises may make a circle of causes
    while error is not None and id(error) not in seen:
        if (found := _failure_of_one(error)) is not None:
            return found
        seen.add(id(error))
        error = error.__cause__
    return None


def _failure_of_one(error: BaseException) -> Failure | None:
    if isinstance(error, sa.exc.PendingRollbackError):
        return Failure.AWAY  # lost before, by a statement whose error nobody handed on
    if not isinstance(error, DBAPIError) or error.orig is None:
        return None
    state = getattr(error.orig, "sqlstate", None)
    if state in _COLLISIONS or (state == UNIQUE and _is_ordinal(error.orig)):
        return Failure.COLLISION
    if error.connection_invalidated or state in _AWAY or (state or "").startswith("08"):
        return Failure.AWAY
    # Before there is a connection there are no states, but words.
    return Failure.AWAY if state is None and isinstance(error, sa.exc.OperationalError) else None


def in_our_words(error: Exception) -> Exception:
    """A text with NUL, which SQLite would have taken, is whoever's that sent it. The doors refuse
    it before; this is for the one that was forgotten."""
    if isinstance(error, sa.exc.DataError) and "NUL" in str(error.orig):
        refused = Invalid("a text holds a NUL character (U+0000): leave it out")
        refused.__cause__ = error
        return refused
    return error


def _is_ordinal(error: Any) -> bool:
    """Two inserts that took the same next one."""
    return str(error.diag.constraint_name).endswith("_ordinal")


_REFUSALS = re.compile(
    "password authentication failed|no password supplied|does not exist|pg_hba.conf|not permitted"
    "|permission denied|must be owner|root certificate|certificate verify"
)


def is_refusal(error: BaseException) -> bool:
    """It will not pass by waiting."""
    return bool(_REFUSALS.search(words_of(error)))


def words_of(error: BaseException) -> str:
    """The server's or the driver's own, in one line."""
    told = getattr(error, "orig", None) or error
    lines = [line.strip() for line in str(told).splitlines() if line.strip()]
    return lines[0] if lines else type(told).__name__


def cannot_use(place: PostgresPlace, error: BaseException) -> DatabaseUnusable:
    words = words_of(error)
    if is_refusal(error):
        return DatabaseUnusable(
            f"PostgreSQL does not let us use {place}: {words}; check its user, the name of the "
            "database, and the password in database_password_file, PGPASSWORD or ~/.pgpass"
        )
    return DatabaseUnusable(
        f"no PostgreSQL answers at {place}: {words}; start it, or change the setting `database`"
    )


_FACTS = sa.text(
    "SELECT current_setting('server_version_num')::int / 10000 AS version,"
    " current_setting('server_encoding') AS encoding,"
    " 'B' < 'a' AND '_' < 'a' AND 'a-c' < 'ab' AND 'z' < 'é' AS by_bytes"
)


def check_server(connection: sa.Connection, place: PostgresPlace) -> None:
    """Raises DatabaseUnusable."""
    facts = connection.execute(_FACTS).one()
    if facts.version < OLDEST:
        raise DatabaseUnusable(
            f"{place} is PostgreSQL {facts.version}: pushrod needs {OLDEST} or newer"
        )
    if facts.encoding != "UTF8" or not facts.by_bytes:
        raise DatabaseUnusable(
            f"{place} keeps text as {facts.encoding} and sorts it by the rules of a language: make "
            "the database with `createdb --template=template0 --encoding=UTF8 --locale=C "
            f"{place.name}`"
        )


def revision_of(connection: sa.Connection) -> str | None:
    """None where there is no schema yet."""
    if connection.execute(sa.text("SELECT to_regclass('alembic_version')")).scalar() is None:
        return None
    found: str | None = connection.execute(
        sa.text("SELECT version_num FROM alembic_version")
    ).scalar()
    return found
