"""`python -m tests.newest_schema` writes what a new database begins with: after each migration."""

from __future__ import annotations

import re
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from coordinator.storage.migrate import NEWEST, migrate


def content_of(path: Path) -> str:
    """A database's schema and rows, as SQL that makes them."""
    with closing(sqlite3.connect(path)) as connection:
        first, *statements, last = connection.iterdump()
    # Which come in the order in which they were made.
    statements.sort(key=lambda one: one if re.match("CREATE (UNIQUE )?INDEX", one) else "")
    lines = "\n".join((first, *statements, last)).split("\n")
    return "".join(f"{line.rstrip()}\n" for line in lines)


def migrated() -> str:
    """What all migrations make of nothing."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "newest.db"
        migrate(path)
        return content_of(path)


if __name__ == "__main__":
    NEWEST.write_text(migrated())
