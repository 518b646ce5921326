"""Outputs as a zip file, written while it is read: never as a whole, in memory or on the disk."""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from coordinator.domain.model import Artifact, OutputEntry

EARLIEST, LATEST = datetime(1980, 1, 1, tzinfo=UTC), datetime(2107, 12, 31, tzinfo=UTC)
"""What a zip file can say of times."""
UNIX = 3
"""The system whose permission bits the entries have."""

Contents = Callable[[Artifact], AsyncIterator[bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """A step's outputs, below a folder of the zip file."""

    folder: str
    """With a `/` at its end; empty for the zip file's own root."""
    artifacts: Sequence[Artifact]
    entries: Sequence[OutputEntry]


class _Pipe:
    """What is written, until it is taken. It can't seek, so zipfile describes each file after its
    content."""

    def __init__(self) -> None:
        self._written = bytearray()

    def write(self, data: bytes, /) -> int:
        self._written += data
        return len(data)

    def flush(self) -> None:
        """Nothing is kept back."""

    def close(self) -> None:
        """There is nothing to close."""

    def take(self) -> bytes:
        taken = bytes(self._written)
        self._written.clear()
        return taken


async def zipped(trees: Sequence[Tree], contents: Contents) -> AsyncIterator[bytes]:
    """The zip file's bytes. Nothing is compressed: most of what builds make is already."""
    pipe = _Pipe()
    with ZipFile(pipe, "w", ZIP_STORED) as archive:
        for tree in trees:
            for info, text in _entries(tree):
                archive.writestr(info, text)
            for artifact in tree.artifacts:
                with archive.open(_file(tree, artifact), "w") as file:
                    async for chunk in contents(artifact):
                        file.write(chunk)
                        yield pipe.take()
                yield pipe.take()
            yield pipe.take()
    yield pipe.take()


def _entries(tree: Tree) -> Iterator[tuple[ZipInfo, str]]:
    """Folders, outer ones first, and links, whose content is their target."""
    for entry in sorted(tree.entries, key=lambda one: one.name):
        if entry.target is None:
            info = _info(tree, entry.name + "/", stat.S_IFDIR | entry.mode)
            info.external_attr |= 0x10  # a folder, in the words of DOS
            yield info, ""
        else:
            yield _info(tree, entry.name, stat.S_IFLNK | 0o777), entry.target


def _file(tree: Tree, artifact: Artifact) -> ZipInfo:
    info = _info(tree, artifact.name, stat.S_IFREG | artifact.mode, artifact.modified)
    info.file_size = artifact.size  # by which zipfile knows whether it needs Zip64
    return info


def _info(tree: Tree, name: str, mode: int, modified: int | None = None) -> ZipInfo:
    info = ZipInfo(tree.folder + name, _time(modified).timetuple()[:6])
    info.create_system = UNIX
    info.external_attr = mode << 16
    return info


def _time(modified: int | None) -> datetime:
    try:
        time = datetime.fromtimestamp(modified or 0, UTC)
    except (OverflowError, ValueError, OSError):
        return EARLIEST
    return min(max(time, EARLIEST), LATEST)
