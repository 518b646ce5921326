"""What this agent's own steps have stored, by digest: steps behind them take it from here.

Each taker copies: no file of a script's tree, nor one that is sent, is a file here.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path

from agent.output_tree import FoundFile

KEPT_BYTES = 1024**3
KEPT_FILES = 100_000
COPY_BYTES = 1024 * 1024


def free_bytes(folder: Path) -> int:
    """Of the disk, for this process's user."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize


class KeptArtifacts:
    """Blocking; from any thread. Of one process: what an earlier one kept is removed."""

    def __init__(
        self,
        folder: Path,
        *,
        min_free_bytes: int,
        max_bytes: int = KEPT_BYTES,
        max_files: int = KEPT_FILES,
        free_bytes_at: Callable[[Path], int] = free_bytes,
    ) -> None:
        """`min_free_bytes`: what is here goes before the disk has less than that."""
        self._folder = folder
        self._min_free_bytes = min_free_bytes
        self._free_bytes_at = free_bytes_at
        self._max_bytes = max_bytes
        self._max_files = max_files
        self._sizes: OrderedDict[str, int] = OrderedDict()
        """By digest; those asked for last stand last."""
        self._bytes = 0
        self._lock = threading.Lock()
        self._opened = False

    def keep(self, files: Sequence[FoundFile], digests: Sequence[str]) -> None:
        """Move files of ours here, that the coordinator has. What can't be moved is not kept."""
        for file, sha256 in zip(files, digests, strict=True):
            if file.size <= self._max_bytes:
                self._keep(file, sha256)
        self.make_room()

    def _keep(self, file: FoundFile, sha256: str) -> None:
        with self._lock, contextlib.suppress(OSError):
            self._open()
            if sha256 not in self._sizes:
                os.replace(file.path, self._folder / sha256)
                self._sizes[sha256] = file.size
                self._bytes += file.size
            self._sizes.move_to_end(sha256)
            while self._bytes > self._max_bytes or len(self._sizes) > self._max_files:
                self._drop_oldest()

    def make_room(self, more_bytes: int = 0) -> None:
        """Drop what it takes to have so much of the disk free, and what it must have beside."""
        with self._lock, contextlib.suppress(OSError):
            self._make_room(more_bytes)

    def _make_room(self, more_bytes: int) -> None:
        wanted = self._min_free_bytes + more_bytes
        while self._sizes and self._free_bytes_at(self._folder) < wanted:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        oldest, size = self._sizes.popitem(last=False)
        self._bytes -= size
        (self._folder / oldest).unlink(missing_ok=True)

    def copy(self, sha256: str, size: int, target: Path) -> bool:
        """Whether `target` was made of what is here; if not, something else may be in it. Raises
        OSError."""
        with self._lock:
            if self._sizes.get(sha256) != size:
                return False
            self._sizes.move_to_end(sha256)
            try:
                content = (self._folder / sha256).open("rb")
            except OSError:
                return False
        digest = hashlib.sha256()
        with content, target.open("wb") as copied:
            while piece := content.read(COPY_BYTES):
                digest.update(piece)
                copied.write(piece)
        return digest.hexdigest() == sha256

    def close(self) -> None:
        with self._lock:
            self._sizes.clear()
            self._bytes = 0
            shutil.rmtree(self._folder, ignore_errors=True)

    def _open(self) -> None:
        if not self._opened:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder.mkdir(parents=True, mode=0o700)
            self._opened = True
