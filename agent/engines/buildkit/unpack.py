"""Unpacking the outputs that the engine sends as a tar stream.

Nothing in the stream is trusted. Files and folders are made below one folder only; symbolic links
are made last, so that nothing is ever written through one. Which files are meant, and where links
may lead, is `agent.engines.output_paths`' business, for every engine alike.
"""

from __future__ import annotations

import io
import os
import queue
import re
import shutil
import stat
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Any

from agent.engines.buildkit.step_graph import COLLECTED_FOLDER
from agent.engines.output_paths import OutsideWorkspaceError, parse_pattern

_ENGINE_MEANS_OTHERWISE = re.compile(r"[\[\]\\!^]")
_TYPES = {tarfile.CHRTYPE: stat.S_IFCHR, tarfile.BLKTYPE: stat.S_IFBLK}


class UnsafeStreamError(Exception):
    """The engine sent a path that leads out of the folder."""


def engine_patterns(output_paths: Sequence[str]) -> tuple[str, ...]:
    """What to ask of the engine: patterns in its own language that mean as much or more. Pure.

    Those that lead outside the workspace are left out; if none is left, so is everything.
    """
    patterns: dict[str, None] = {}
    for written in output_paths:
        try:
            names = parse_pattern(written)
        except OutsideWorkspaceError:
            continue
        patterns[engine_pattern(names)] = None
    return tuple(patterns)


def engine_pattern(names: Sequence[str]) -> str:
    """A pattern by its names, or what means more. Pure."""
    shown = ("*" if _ENGINE_MEANS_OTHERWISE.search(name) else name for name in names)
    return "/".join(shown) or "**"


def unpack(stream: IO[bytes], folder: Path) -> Mapping[str, int]:
    """Make the collected files below `folder`, which is empty; say where a named pipe stands in
    for something else, and for what (a type of `stat`), which a script must not have us make.

    Blocking. Raises UnsafeStreamError, tarfile.TarError, OSError.
    """
    stands_for: dict[str, int] = {}
    links: dict[Path, str] = {}
    folders: list[tuple[Path, tarfile.TarInfo]] = []
    with tarfile.open(fileobj=stream, mode="r|", errors="surrogateescape") as archive:
        for member in archive:
            parts = safe_parts(member.name)
            if len(parts) < 2 or parts[0] != COLLECTED_FOLDER:
                continue
            target = folder.joinpath(*parts[1:])
            if member.isdir():
                target.mkdir(parents=True, exist_ok=True)
                folders.append((target, member))
            elif member.isreg():
                _write_file(archive, member, target)
            elif member.islnk():
                _take_linked(member, target, folder, links)
            elif member.issym():
                links[target] = member.linkname
            else:
                # The collector will say that it is not a file.
                target.parent.mkdir(parents=True, exist_ok=True)
                os.mkfifo(target)
                stands_for["/".join(parts[1:])] = _TYPES.get(member.type, stat.S_IFIFO)
    for link, points_to in links.items():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(points_to)
    for target, member in reversed(folders):
        target.chmod(stat.S_IMODE(member.mode) & 0o777)
    return stands_for


def safe_parts(name: str) -> tuple[str, ...]:
    """The components of a name in the stream. Raises UnsafeStreamError if it leads out."""
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts or "\0" in name:
        raise UnsafeStreamError(f"the engine sent an output named {name!r}")
    return parts


def _write_file(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    content = archive.extractfile(member)
    with os.fdopen(os.open(target, flags, 0o600), "wb") as file:
        if content is not None:
            shutil.copyfileobj(content, file, 1024 * 1024)
        file.flush()
        os.fchmod(file.fileno(), stat.S_IMODE(member.mode) & 0o777)
        os.utime(file.fileno(), (member.mtime, member.mtime))


def _take_linked(
    member: tarfile.TarInfo, target: Path, folder: Path, links: dict[Path, str]
) -> None:
    """A second name of a file or a link that came before in the stream."""
    parts = safe_parts(member.linkname)
    original = folder.joinpath(*parts[1:])
    if original in links:
        links[target] = links[original]
        return
    if parts[0] != COLLECTED_FOLDER or not original.is_file():
        raise UnsafeStreamError(f"the engine sent {member.name!r} as a link to {member.linkname!r}")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(original, target)


class ChunkReader(io.RawIOBase):
    """A file to read from, in one thread, what the event loop puts in, piece by piece."""

    MAX_PIECES = 64

    def __init__(self) -> None:
        self._pieces: queue.Queue[bytes] = queue.Queue(maxsize=self.MAX_PIECES)
        self._piece = memoryview(b"")
        self._ended = False

    def offer(self, piece: bytes) -> bool:
        """Put a piece in, unless it is full. The empty piece is the end."""
        try:
            self._pieces.put_nowait(piece)
        except queue.Full:
            return False
        return True

    def put(self, piece: bytes) -> None:
        """Put a piece in; blocks while it is full."""
        self._pieces.put(piece)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._piece and not self._ended:
            self._piece = memoryview(self._pieces.get())
            self._ended = not self._piece
        room = memoryview(buffer).cast("B")
        size = min(len(room), len(self._piece))
        room[:size] = self._piece[:size]
        self._piece = self._piece[size:]
        return size

    def drain(self) -> None:
        """Take and drop what is still to come, so that nobody is left blocked in `put`."""
        while not self._ended:
            self._ended = not self._pieces.get()
