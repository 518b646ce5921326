"""Bring a database to this version's schema. Alembic is heavy: it loads only when needed, and
no new file needs it."""

from __future__ import annotations

import ctypes
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from coordinator.storage.postgresql import PostgresPlace, cannot_use, engine_of, revision_of
from coordinator.storage.soundness import DatabaseUnusable, check_known, check_sound

HEAD = "0056"
"""The newest revision in migrations/versions; a test keeps the two equal."""


NEWEST = Path(__file__).parent / "migrations" / "newest.sql"
"""What all migrations make of nothing: `python -m tests.newest_schema` writes it."""


class MigrationFailed(DatabaseUnusable):
    """The schema could not be brought up to date; the file is as it was."""


def migrate_apart(place: Path | PostgresPlace) -> None:
    """`migrate` in a process of its own, which takes Alembic's 10 MB along when it ends; a new file
    is made without it, in milliseconds.

    Raises MigrationFailed, DatabaseUnusable.
    """
    if isinstance(place, Path):
        if place.exists():
            check_sound(place, known_revisions=known_revisions())
        else:
            _make_newest(place)
    if (revision := current_revision(place)) == HEAD:
        return
    check_known(place, revision, known_revisions())
    done = subprocess.run(
        [sys.executable, "-m", __name__, *_arguments(place)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        # Where this very package was imported from, installed or not.
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    if done.returncode != 0:
        problem = done.stderr.decode(errors="replace").strip()
        raise MigrationFailed(f"the database {place} can't be brought up to date: {problem}")


def _arguments(place: Path | PostgresPlace) -> list[str]:
    """They show in the list of processes; no password is among them."""
    if isinstance(place, Path):
        return [str(place)]
    file = place.password_file
    return ["--postgresql", place.url, *([] if file is None else [str(file)])]


def _place(arguments: list[str]) -> Path | PostgresPlace:
    if arguments[0] != "--postgresql":
        return Path(arguments[0])
    _, url, *file = arguments
    return PostgresPlace(url=url, password_file=Path(file[0]) if file else None)


def _make_newest(path: Path) -> None:
    """Raises MigrationFailed."""
    fresh = _beside(path)
    try:
        fresh.unlink(missing_ok=True)
        with closing(sqlite3.connect(fresh)) as connection:
            connection.executescript(NEWEST.read_text())
        fresh.replace(path)
    except (OSError, sqlite3.Error) as error:
        raise MigrationFailed(f"the database {path} can't be made: {error}") from error


def _beside(path: Path) -> Path:
    """Where a new one is made and moved from: a kill leaves no half schema."""
    return path.with_name(path.name + ".new")


def known_revisions() -> frozenset[str]:
    """Those that this version can bring a database from, and its own."""
    return frozenset(f"{number:04}" for number in range(1, int(HEAD) + 1))


def migrate(place: Path | PostgresPlace) -> None:
    """By Alembic, also a new file."""
    if current_revision(place) == HEAD:
        return
    if isinstance(place, PostgresPlace) or place.exists():
        upgrade(place, "head")
        return
    fresh = _beside(place)
    fresh.unlink(missing_ok=True)
    upgrade(fresh, "head")
    fresh.replace(place)


def upgrade(place: Path | PostgresPlace, revision: str) -> None:
    """All steps up to the revision in one transaction: a kill leaves the database as it was."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    if isinstance(place, PostgresPlace):
        engine = engine_of(place)
    else:
        engine = sa.create_engine(
            sa.URL.create("sqlite", database=str(place)), poolclass=sa.NullPool
        )
    config.attributes["engine"] = engine
    try:
        command.upgrade(config, revision)
    finally:
        engine.dispose()


def current_revision(place: Path | PostgresPlace) -> str | None:
    """None where there is no schema yet. Raises DatabaseUnusable of a PostgreSQL."""
    if isinstance(place, PostgresPlace):
        return _postgres_revision(place)
    if not place.exists():
        return None
    with closing(sqlite3.connect(place)) as connection:
        try:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        except sqlite3.OperationalError:
            return None
    return row[0] if row else None


def _postgres_revision(place: PostgresPlace) -> str | None:
    engine = engine_of(place)
    try:
        with engine.connect() as connection:
            return revision_of(connection)
    except DBAPIError as error:
        raise cannot_use(place, error) from error
    finally:
        engine.dispose()


PR_SET_PDEATHSIG = 1

if __name__ == "__main__":
    # Two coordinators' worth of migrations must never work on one file.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    migrate(_place(sys.argv[1:]))
