"""What a copy of the database names outside of itself. Blocking; the file is nobody else's."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

_BLOBS = """
SELECT DISTINCT steps.account_id, artifacts.sha256, artifacts.size
FROM artifacts JOIN steps ON steps.id = artifacts.step_id
UNION
SELECT DISTINCT projects.account_id, lfs_objects.oid, lfs_objects.size
FROM lfs_objects JOIN projects ON projects.id = lfs_objects.project_id
"""
_LOGS = """
SELECT coalesce(log_of, step_id || '-' || epoch), max(log_bytes)
FROM attempts WHERE log_bytes > 0 GROUP BY 1
"""
# Its last lines, and, of a short one, all of them, may be in the database itself.
_LOGS_INSIDE = "SELECT attempt_id FROM log_tails WHERE kind = 'text' AND start = 0"


def named_blobs(path: Path) -> Iterator[tuple[str, str, int]]:
    """Account, sha256 and size of each artifact and LFS object."""
    with closing(sqlite3.connect(path)) as connection:
        yield from connection.execute(_BLOBS)


def named_logs(path: Path) -> Iterator[str]:
    """Of attempts that ended, and printed something which is not in the database itself."""
    with closing(sqlite3.connect(path)) as connection:
        inside = {str(name) for (name,) in connection.execute(_LOGS_INSIDE)}
        for name, _ in connection.execute(_LOGS):
            if name not in inside:
                yield str(name)


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
