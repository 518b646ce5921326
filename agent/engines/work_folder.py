"""The folder below which an agent keeps workspaces and caches of the host, and whose one is."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import threading
from pathlib import Path

from agent.engines.host_trees import remove_tree

ROOT_WORK_FOLDER = Path("/var/lib/pushrod-work")
"""Reachable by every user, unlike a data folder below /root or a home."""
OWNER_FILE = "data-folder"
"""Names the data folder of the agent; who works here has it locked."""


def work_folder_for(data_dir: Path) -> Path:
    """The folder for workspaces and caches: reachable by the script's user, and without secrets."""
    if os.geteuid() != 0:
        return data_dir / "work"
    return ROOT_WORK_FOLDER / hashlib.sha256(os.fsencode(data_dir.resolve())).hexdigest()[:16]


class WorkFolder:
    """Blocking. Its methods raise OSError."""

    def __init__(self, path: Path, *, data_dir: Path, others_pass: bool) -> None:
        self.path = path
        self.attempts = path / "attempts"
        self.caches = path / "caches"
        self._data_dir = data_dir
        self._mode = 0o711 if others_pass else 0o700
        self._making = threading.Lock()
        self._lock: int | None = None

    def make(self) -> None:
        """Make what is missing of it, somebody may have cleared it away, and have it for ours."""
        with self._making:
            self._make_folders()
            # Who removes it has it locked: then it has gone again by the time we have the lock.
            while self._lock is None or not _is_at(self._lock, self.path / OWNER_FILE):
                self._claim()
                self._make_folders()

    def _make_folders(self) -> None:
        for folder in (self.path, self.attempts, self.caches):
            folder.mkdir(parents=True, exist_ok=True)
            # Others may pass through, but list nothing: the names below are theirs to know.
            folder.chmod(self._mode)
        if self.path.parent == ROOT_WORK_FOLDER:
            ROOT_WORK_FOLDER.chmod(self._mode)

    def close(self) -> None:
        """Leave no empty folders; caches stay for the next start."""
        with contextlib.suppress(OSError):
            self.attempts.rmdir()
            self.caches.rmdir()
            (self.path / OWNER_FILE).unlink()
            self.path.rmdir()
        self._let_go()

    def _claim(self) -> None:
        self._let_go()
        self._lock = os.open(
            self.path / OWNER_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
        )
        fcntl.flock(self._lock, fcntl.LOCK_SH)
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, os.fsencode(self._data_dir.resolve()), 0)

    def _let_go(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def removed_if_abandoned(folder: Path) -> bool:
    """Remove another agent's work folder if its data folder has gone; whether it is there no more.

    Blocking. Raises OSError.
    """
    try:
        lock = os.open(folder / OWNER_FILE, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return not folder.exists()
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        named = os.pread(lock, os.fstat(lock).st_size, 0)
        # An empty one is of an agent that is just making it, or was killed while it did.
        if not named or os.path.lexists(named):
            return False
        remove_tree(folder)  # who begins here meanwhile waits for the lock, then makes it anew
        return True
    except BlockingIOError:
        return False  # its agent runs
    finally:
        os.close(lock)


def _is_at(number: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(number), path.stat())
    except FileNotFoundError:
        return False
