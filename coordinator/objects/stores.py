"""A store in a folder, and what it lacks: durability."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import structlog
from obstore.store import LocalStore, ObjectStore

log = structlog.get_logger(__name__)

_STAGED = re.compile(r".+#\d+")
"""No key of ours has a `#`."""
_SYNCS_AT_ONCE = 8
_CLOCK_SECONDS = 0.1
"""So much may a file's time, which the kernel rounds down, be behind the clock."""


def open_store(folder: Path) -> ObjectStore:
    """A store in a folder, which is made if it does not exist."""
    return LocalStore(folder.absolute(), mkdir=True)


async def make_durable(store: ObjectStore, key: str) -> None:
    """Return once `key` survives a power cut.

    obstore's LocalStore writes a whole file and links or renames it into place, so that no reader
    sees half of it, but never calls fsync (seen by strace, obstore 0.12). The remote stores
    acknowledge only what is stored.
    """
    if isinstance(store, LocalStore) and store.prefix is not None:
        await asyncio.to_thread(_sync, Path(store.prefix), key)


async def make_all_durable(store: ObjectStore, keys: Collection[str]) -> None:
    """As `make_durable`, with the folders that they have in common synced once."""
    if isinstance(store, LocalStore) and store.prefix is not None:
        await asyncio.to_thread(_sync_all, Path(store.prefix), keys)


async def remove_staged(root: Path, *, before: float) -> None:
    """Remove what writes of an earlier process, killed in the middle, left in a local store.

    obstore's LocalStore writes beside the object, to its name with `#` and a number, and hides
    such files from its listings. What was changed since `before` may be a write under way.
    """
    try:
        removed = await asyncio.to_thread(_remove_staged, root, before - _CLOCK_SECONDS)
    except OSError:  # a task root: they only take room
        log.exception("removing what killed writes left failed")
        return
    if removed:
        log.info("removed what killed writes left", files=removed)


def _remove_staged(root: Path, before: float) -> int:
    removed = 0
    for folder, _, names in os.walk(root):
        for name in filter(_STAGED.fullmatch, names):
            path = Path(folder, name)
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < before:
                    path.unlink()
                    removed += 1
    return removed


def _sync(root: Path, key: str) -> None:
    _sync_all(root, [key])


def _sync_all(root: Path, keys: Collection[str]) -> None:
    floors: dict[int, set[Path]] = {}
    for key in keys:
        path = root / key
        for one in (path, *path.parents):
            if one.is_relative_to(root):
                floors.setdefault(len(one.parts), set()).add(one)
    # The inner ones first: a name that lasts stands for what lasts.
    for _, floor in sorted(floors.items(), reverse=True):
        _sync_each(floor)


def _sync_each(paths: Collection[Path]) -> None:
    """The disk writes together what is asked for at once."""
    if len(paths) == 1:
        _sync_one(*paths)
        return
    with ThreadPoolExecutor(min(_SYNCS_AT_ONCE, len(paths))) as pool:
        list(pool.map(_sync_one, paths))


def _sync_one(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
