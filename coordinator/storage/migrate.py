"""Bring a database file to this version's schema. Alembic is heavy: it loads only when needed, and
nothing new needs it."""

from __future__ import annotations

import ctypes
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from coordinator.storage.soundness import DatabaseUnusable, check_sound

HEAD = "0053"
"""The newest revision in migrations/versions; a test keeps the two equal."""


NEWEST = Path(__file__).parent / "migrations" / "newest.sql"
"""What all migrations make of nothing: `python -m tests.newest_schema` writes it."""


class MigrationFailed(DatabaseUnusable):
    """The schema could not be brought up to date; the file is as it was."""


def migrate_apart(path: Path) -> None:
    """`migrate` in a process of its own, which takes Alembic's 10 MB along when it ends; a new file
    is made without it, in milliseconds.

    Raises MigrationFailed, DatabaseUnusable.
    """
    if path.exists():
        check_sound(path, known_revisions=known_revisions())
    else:
        _make_newest(path)
    if current_revision(path) == HEAD:
        return
    done = subprocess.run(
        [sys.executable, "-m", __name__, str(path)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        # Where this very package was imported from, installed or not.
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    if done.returncode != 0:
        problem = done.stderr.decode(errors="replace").strip()
        raise MigrationFailed(f"the database {path} can't be brought up to date: {problem}")


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


def migrate(path: Path) -> None:
    """By Alembic, also a new file."""
    if current_revision(path) == HEAD:
        return
    if path.exists():
        upgrade(path, "head")
        return
    fresh = _beside(path)
    fresh.unlink(missing_ok=True)
    upgrade(fresh, "head")
    fresh.replace(path)


def upgrade(path: Path, revision: str) -> None:
    """All steps up to the revision in one transaction: a kill leaves the file as it was."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("sqlalchemy.url", f"sqlite:///{path}".replace("%", "%%"))
    command.upgrade(config, revision)


def current_revision(path: Path) -> str | None:
    if not path.exists():
        return None
    with closing(sqlite3.connect(path)) as connection:
        try:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        except sqlite3.OperationalError:
            return None
    return row[0] if row else None


PR_SET_PDEATHSIG = 1

if __name__ == "__main__":
    # Two coordinators' worth of migrations must never work on one file.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    migrate(Path(sys.argv[1]))
