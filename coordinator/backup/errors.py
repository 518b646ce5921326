"""Why there is no backup, or nothing restored; each message says what to do."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from coordinator.storage.trouble import Trouble, trouble_of


class BackupError(Exception):
    """The message says what it is and what to do."""


class NoBackup(BackupError):
    """The folder has no backup, or not the one that was asked for."""


class BackupDamaged(BackupError):
    """What lies in the folder is not what was put there."""


class NothingToBackUp(BackupError):
    """There is no installation in the data folder."""


class NoRoom(BackupError):
    """The disk is full; what was done so far is kept."""


class Occupied(BackupError):
    """Something else is where this was to go, or works there."""


@contextmanager
def writing_to(folder: Path, *, go_on: str) -> Iterator[None]:
    """Raises NoRoom for a disk that is full: `go_on` says how it goes on afterwards."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        if trouble_of(error) is Trouble.DISK_FULL:
            raise NoRoom(f"no room is left in {folder}: {go_on}") from error
        raise
