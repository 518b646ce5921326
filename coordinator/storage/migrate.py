"""Bring a database file to this version's schema. Alembic is heavy: it loads only when needed."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

HEAD = "0002"
"""The newest revision in migrations/versions; a test keeps the two equal."""


def migrate(path: Path) -> None:
    """A new file is made beside and moved into place: a kill leaves no half schema."""
    if current_revision(path) == HEAD:
        return
    if path.exists():
        _upgrade(path)
        return
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    _upgrade(fresh)
    fresh.replace(path)


def _upgrade(path: Path) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("sqlalchemy.url", f"sqlite:///{path}".replace("%", "%%"))
    command.upgrade(config, "head")


def current_revision(path: Path) -> str | None:
    if not path.exists():
        return None
    with closing(sqlite3.connect(path)) as connection:
        try:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        except sqlite3.OperationalError:
            return None
    return row[0] if row else None
