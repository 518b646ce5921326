"""Nothing is deleted while a backup is made: it would miss what its database names.

A lock of the operating system on a file in the data folder: whoever deletes shares it for a batch,
a backup, which is a process of its own, has it alone. However a backup ends, the lock ends with it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK = "deletions"


@contextmanager
def deleting(data: Path) -> Iterator[bool]:
    """Whether something may be deleted, for as long as the block runs."""
    with _locked(data) as descriptor:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


@contextmanager
def deletions_paused(data: Path, *, waits: Callable[[], None]) -> Iterator[None]:
    """Waits until what is being deleted is, and until another backup has ended. Blocking; `waits`
    is called first where that takes time."""
    with _locked(data) as descriptor:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waits()
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


@contextmanager
def _locked(data: Path) -> Iterator[int]:
    descriptor = os.open(data / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if os.geteuid() == 0:
            # The administrator's backup must not shut the coordinator's own user out.
            owner = data.stat()
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
        yield descriptor
    finally:
        os.close(descriptor)
