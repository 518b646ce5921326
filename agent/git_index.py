"""The index of a work tree's commit, in git's own format (version 2), by which git sees that no
file has changed since the tree was laid out, without reading it.

Of what git notes of a file only its size and the second it was last written survive copying, so
`core.checkStat` is `minimal` where this is used. A file of the very second in which the index was
written, or a later one, is read by git all the same.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pygit2
from pygit2.enums import FileMode

_HEADER = struct.Struct(">4sII")
_ENTRY = struct.Struct(">10I20sH")
_LONGEST_NOTED = 0xFFF
_32_BITS = 0xFFFFFFFF


def index_of(repository: pygit2.Repository, commit: str, files: Path) -> bytes:
    """The index of a folder that holds the files of the commit. Blocking."""
    root = repository[commit].peel(pygit2.Tree)
    entries = sorted(_files_below(repository, root, b""))
    parts = [_HEADER.pack(b"DIRC", 2, len(entries))]
    folder = os.fsencode(files)
    parts += [_entry(folder, path, mode, blob) for path, mode, blob in entries]
    content = b"".join(parts)
    return content + hashlib.sha1(content, usedforsecurity=False).digest()


def _files_below(
    repository: pygit2.Repository, root: pygit2.Tree, above: bytes
) -> Iterator[tuple[bytes, int, bytes]]:
    todo = [(above, root)]
    while todo:
        above, tree = todo.pop()
        for entry in tree:
            path = above + (entry.raw_name or b"")
            if entry.filemode == FileMode.TREE:
                todo.append((path + b"/", repository[entry.id].peel(pygit2.Tree)))
            else:
                yield path, int(entry.filemode), entry.id.raw


def _entry(folder: bytes, path: bytes, mode: int, blob: bytes) -> bytes:
    seconds, fraction, size = _noted(os.path.join(folder, path), mode)
    times = (0, 0, seconds, fraction)
    name_bytes = min(len(path), _LONGEST_NOTED)
    start = _ENTRY.pack(*times, 0, 0, mode, 0, 0, size, blob, name_bytes)
    # One to eight NULs end the name, so that the next entry begins at a multiple of eight.
    return start + path + b"\0" * (8 - (len(start) + len(path)) % 8)


def _noted(path: bytes, mode: int) -> tuple[int, int, int]:
    """When the file was written, in seconds and nanoseconds, and its size."""
    if mode == FileMode.COMMIT:
        return 0, 0, 0
    status = os.lstat(path)
    seconds, fraction = divmod(status.st_mtime_ns, 1_000_000_000)
    return seconds & _32_BITS, fraction, status.st_size & _32_BITS
