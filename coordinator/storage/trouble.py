"""What an exception says of the machine: its disk is full, its database is busy."""

from __future__ import annotations

import errno
import sqlite3
from enum import StrEnum
from typing import Any

from obstore.exceptions import GenericError, PermissionDeniedError, UnauthenticatedError
from sqlalchemy.exc import DBAPIError


class Trouble(StrEnum):
    """It passes without anybody changing us; the text is for people."""

    DISK_FULL = "the coordinator's disk is full"
    DATABASE_BUSY = "the coordinator's database is locked by another process"
    DATABASE_AWAY = "the coordinator's database does not answer"
    DATABASE_UNKNOWN = "the coordinator's database was lost while it was to answer"
    TAKEN_OVER = "another coordinator has begun to work on this coordinator's database"
    DATABASE_FULL = "the disk of the coordinator's database is full"
    DESCRIPTORS = "the coordinator has no file descriptor left"
    DISK = "the coordinator's disk can't be read or written"
    OBJECTS = "the coordinator's object store does not answer, or refuses"

    @property
    def leaves_open(self) -> bool:
        """Whether what was asked for may have been done all the same."""
        return self in (Trouble.DATABASE_UNKNOWN, Trouble.TAKEN_OVER)


class DatabaseTrouble(Exception):
    """Of PostgreSQL, after it was waited for."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(str(trouble))
        self.trouble = trouble


_OF_ERRNO = {
    errno.ENOSPC: Trouble.DISK_FULL,
    errno.EDQUOT: Trouble.DISK_FULL,
    errno.EMFILE: Trouble.DESCRIPTORS,
    errno.ENFILE: Trouble.DESCRIPTORS,
    errno.EIO: Trouble.DISK,
    errno.EROFS: Trouble.DISK,
}
_OF_SQLITE = {
    sqlite3.SQLITE_FULL: Trouble.DISK_FULL,
    sqlite3.SQLITE_BUSY: Trouble.DATABASE_BUSY,
    sqlite3.SQLITE_LOCKED: Trouble.DATABASE_BUSY,
    sqlite3.SQLITE_CANTOPEN: Trouble.DISK,
    sqlite3.SQLITE_IOERR: Trouble.DISK,
    sqlite3.SQLITE_READONLY: Trouble.DISK,
}
_NO_ROOM_TO_OPEN = 4874
"""SQLITE_IOERR_SHMSIZE: what readers share beside the file can't be made."""
_OF_POSTGRESQL = {"53100": Trouble.DATABASE_FULL, "53200": Trouble.DATABASE_BUSY}
_OF_OBJECTS = (GenericError, PermissionDeniedError, UnauthenticatedError)
_PRIMARY = 0xFF
"""SQLite's extended codes have the primary one in their lowest byte."""


def trouble_of(error: BaseException | None) -> Trouble | None:
    """None: nothing that the machine is to blame for. Also looks at what caused the error, and at
    each of a group of them."""
    seen: set[int] = set()  # whoever raises may make a circle of causes
    while error is not None and id(error) not in seen:
        found = _trouble_of_one(error)
        if found is not None:
            return found
        seen.add(id(error))
        error = error.__cause__
    return None


def tell_fault(log: Any, event: str, error: BaseException, **named: object) -> None:
    """In the log: the machine's trouble in a line, a fault of ours with its traceback."""
    if trouble := trouble_of(error):
        log.error(event, trouble=trouble.value, **named)
    else:
        log.error(event, exc_info=error, **named)


def _trouble_of_one(error: BaseException) -> Trouble | None:
    if isinstance(error, BaseExceptionGroup):
        found = [trouble_of(one) for one in error.exceptions]
        return found[0] if all(found) else None
    if isinstance(error, DBAPIError):
        return _trouble_of_one(error.orig) if error.orig is not None else None
    if isinstance(trouble := getattr(error, "trouble", None), Trouble):
        return trouble
    if (state := getattr(error, "sqlstate", None)) is not None:
        return _OF_POSTGRESQL.get(state)
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", None)
        if code == _NO_ROOM_TO_OPEN:
            return Trouble.DISK_FULL
        return None if code is None else _OF_SQLITE.get(code & _PRIMARY)
    if isinstance(error, OSError) and error.errno is not None:
        return _OF_ERRNO.get(error.errno)
    # The object store's library has the operating system's words in its own exception.
    if "No space left on device" in str(error):
        return Trouble.DISK_FULL
    return Trouble.OBJECTS if isinstance(error, _OF_OBJECTS) else None
