"""Whether a database file is one that this version can work with, looked at before anything else.

A damaged file would be noticed by whichever request comes first to the damaged page, long after the
start was called a success.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from coordinator.storage.trouble import trouble_of

WHOLE_CHECK_BYTES = 256 * 1024 * 1024
"""Up to this size all pages are read, which takes a second; of a larger file the schema and the
ends of every table, unless it was not closed cleanly."""
SHOWN_FAULTS = 3


class DatabaseUnusable(Exception):
    """The message says what it is and what to do."""


def check_sound(path: Path, *, known_revisions: frozenset[str]) -> None:
    """Nothing is said of a file that isn't there yet. Raises DatabaseUnusable."""
    if not path.exists():
        return
    was_open = path.with_name(path.name + "-wal").exists()
    try:
        with closing(sqlite3.connect(path)) as connection:
            revision = _revision(connection)
            whole = was_open or path.stat().st_size <= WHOLE_CHECK_BYTES
            faults = list(_faults(connection, whole=whole))
    except sqlite3.DatabaseError as error:
        if trouble := trouble_of(error):
            raise DatabaseUnusable(f"the database {path} can't be opened: {trouble}") from error
        raise _damaged(path, str(error)) from error
    if faults:
        raise _damaged(path, "; ".join(faults[:SHOWN_FAULTS]))
    check_known(path, revision, known_revisions)


def check_known(place: object, revision: str | None, known_revisions: frozenset[str]) -> None:
    """Raises DatabaseUnusable."""
    if revision is not None and revision not in known_revisions:
        raise DatabaseUnusable(
            f"the database {place} is of a newer pushrod (schema {revision}, this one knows "
            f"{max(known_revisions)}): start that version again, or restore the copy that was "
            "made before it"
        )


def _damaged(path: Path, what: str) -> DatabaseUnusable:
    return DatabaseUnusable(
        f"the database {path} is damaged ({what}): stop everything that uses it, keep the file, "
        "and restore the last copy of the data folder"
    )


def _revision(connection: sqlite3.Connection) -> str | None:
    """None where there is no schema yet."""
    named = "SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'"
    if connection.execute(named).fetchone() is None:
        return None
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return row[0] if row else None


def _faults(connection: sqlite3.Connection, *, whole: bool) -> Iterator[str]:
    if whole:
        for (line,) in connection.execute(f"PRAGMA quick_check({SHOWN_FAULTS})"):
            if line != "ok":
                yield " ".join(str(line).split())
        return
    for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'"):
        for order in ("ASC", "DESC"):
            # The names are our own schema's.
            connection.execute(f'SELECT * FROM "{table}" ORDER BY 1 {order} LIMIT 1').fetchone()  # noqa: S608
