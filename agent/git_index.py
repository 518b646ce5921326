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
from pathlib import Path

import pygit2
from pygit2.enums import FileMode

from agent.source_trees import IndexedFolder

_HEADER = struct.Struct(">4sII")
_ENTRY = struct.Struct(">10I20sH")
_LONGEST_NOTED = 0xFFF
_32_BITS = 0xFFFFFFFF


def indexed(
    repository: pygit2.Repository, commit: str, files: Path, before: IndexedFolder | None
) -> IndexedFolder:
    """Describe a folder that holds the files of the commit. Blocking.

    `before`: what it was, of an earlier commit: of folders that are still the same nothing is
    looked at again.
    """
    tree, above = repository[commit].peel(pygit2.Tree), os.fsencode(files)
    top = IndexedFolder(tree.id.raw)
    todo = [(b"", tree, top, before)]
    while todo:
        path, tree, made, earlier = todo.pop()
        known = earlier.folders if earlier is not None else {}
        for entry in tree:
            name = entry.raw_name or b""
            if entry.filemode != FileMode.TREE:
                made.entries += 1
                made.parts.append(_entry(above, path + name, int(entry.filemode), entry.id.raw))
                continue
            same = known.get(name)
            inner = same if same and same.tree == entry.id.raw else IndexedFolder(entry.id.raw)
            made.parts.append(inner)
            made.folders[name] = inner
            if inner is not same:
                below = repository[entry.id].peel(pygit2.Tree)
                todo.append((path + name + b"/", below, inner, same))
    return top


def index_of(top: IndexedFolder) -> bytes:
    """The index's file."""
    parts: list[bytes] = []
    todo: list[bytes | IndexedFolder] = [top]
    entries = 0
    while todo:
        part = todo.pop()
        if isinstance(part, bytes):
            parts.append(part)
        else:
            entries += part.entries
            todo += reversed(part.parts)
    content = _HEADER.pack(b"DIRC", 2, entries) + b"".join(parts)
    return content + hashlib.sha1(content, usedforsecurity=False).digest()


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
