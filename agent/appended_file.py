"""A file that only grows, and whose appends several threads make lasting together."""

from __future__ import annotations

import os
import threading
from pathlib import Path


class AppendedFile:
    """Blocking. Appends and replacements come one at a time; `make_lasting` comes at any time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._number = -1
        self._appended = 0
        self._lasting = 0
        self._syncing = threading.Lock()
        self.size = 0

    def open(self) -> bytes:
        """Open the file, made for this user alone if need be; what it has. Raises OSError."""
        self._number = os.open(
            self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
        )
        data = self._path.read_bytes()
        self.size = len(data)
        if not data:
            sync_folder(self._path.parent)  # a new file's name must last as what is appended does
        return data

    def close(self) -> None:
        if self._number >= 0:
            os.close(self._number)
            self._number = -1

    def append(self, data: bytes) -> int:
        """Survives a kill at once. Returns what `make_lasting` is to be told. Raises OSError."""
        view = memoryview(data)
        while view:
            written = os.write(self._number, view)
            self.size += written
            view = view[written:]
        self._appended += len(data)
        return self._appended

    def make_lasting(self, mark: int) -> None:
        """Return once what was appended so far survives a power cut, too. Raises OSError.

        One call does it for all that wait meanwhile.
        """
        with self._syncing:
            if self._lasting < mark:
                reached = self._appended
                os.fdatasync(self._number)
                self._lasting = reached

    def replace(self, data: bytes) -> None:
        """Have other content, lasting, whole or not at all. Raises OSError."""
        new = self._path.with_suffix(".new")
        number = os.open(
            new, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600
        )
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(number, view) :]
            os.fsync(number)
            os.replace(new, self._path)
        except OSError:
            os.close(number)
            raise
        # Whoever syncs has the lock, so nobody uses the old number while it is closed.
        with self._syncing:
            os.close(self._number)
            self._number, self.size = number, len(data)
            self._lasting = self._appended
        sync_folder(self._path.parent)


def sync_folder(folder: Path) -> None:
    """Have the names in it survive a power cut. Raises OSError."""
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
