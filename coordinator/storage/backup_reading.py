"""What a database names outside of itself, and a copy of one in a file. Blocking."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa

_BLOBS = """
SELECT steps.account_id, artifacts.sha256
FROM artifacts JOIN steps ON steps.id = artifacts.step_id
UNION
SELECT projects.account_id, lfs_objects.oid
FROM lfs_objects JOIN projects ON projects.id = lfs_objects.project_id
"""
_PACKS = "SELECT object FROM stored_packs WHERE goes_at IS NULL"
# Of attempts that ended, and printed something.
_LOGS = """
SELECT DISTINCT coalesce(log_of, step_id || '-' || epoch) FROM attempts WHERE log_bytes > 0
"""
# Its last lines, and, of a short one, all of them, may be in the database itself.
_LOGS_INSIDE = "SELECT attempt_id FROM log_tails WHERE kind = 'text' AND start = 0"


def missing_objects(database: sa.Engine, there: Collection[str]) -> Sequence[str]:
    """Keys of blobs and packs, and the folders of logs, which it names and which are not there."""
    logs = {key.split("/")[1] for key in there if key.startswith("logs/")}
    with database.connect() as connection:
        blobs = connection.execute(sa.text(_BLOBS))
        named = [f"blobs/{account}/{sha[:2]}/{sha}" for account, sha in blobs]
        named += connection.execute(sa.text(_PACKS)).scalars()
        missing = [key for key in named if key not in there]
        logs |= set(connection.execute(sa.text(_LOGS_INSIDE)).scalars())
        of_logs = connection.execute(sa.text(_LOGS)).scalars()
        return missing + [f"logs/{name}" for name in of_logs if name not in logs]


def snapshot(source: Path, target: Path) -> None:
    """Copy the database as it stands at one moment, while others read and write it.

    With all pages in one step: in WAL mode that is one read, which holds nobody up, and which no
    write makes begin anew.
    """
    target.unlink(missing_ok=True)
    with (
        closing(sqlite3.connect(f"{source.as_uri()}?mode=rw", uri=True)) as live,
        closing(sqlite3.connect(target)) as copy,
    ):
        live.backup(copy, pages=-1)
        # One file: the copy has no log beside it.
        copy.execute("PRAGMA journal_mode=DELETE")
