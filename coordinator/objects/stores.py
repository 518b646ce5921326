"""Opening an object store, and what a local one lacks: durability."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from obstore.store import LocalStore, ObjectStore, from_url


def open_store(location: str | Path) -> ObjectStore:
    """Open a store by URL (`s3://bucket/prefix`, `gs://…`, `az://…`, `file:///…`) or local path.

    A local folder is made if it does not exist. Credentials of the others come from their usual
    environment variables.
    """
    text = str(location)
    if "://" in text and not text.startswith("file://"):
        return from_url(text)
    if text.startswith("file://"):
        return LocalStore.from_url(text, mkdir=True)
    return LocalStore(Path(text).absolute(), mkdir=True)


async def make_durable(store: ObjectStore, key: str) -> None:
    """Return once `key` survives a power cut.

    obstore's LocalStore writes a whole file and links or renames it into place, so that no reader
    sees half of it, but never calls fsync (seen by strace, obstore 0.12). The remote stores
    acknowledge only what is stored.
    """
    if isinstance(store, LocalStore) and store.prefix is not None:
        await asyncio.to_thread(_sync, Path(store.prefix), key)


def _sync(root: Path, key: str) -> None:
    path = root / key
    _sync_one(path)
    for folder in path.parents:
        _sync_one(folder)
        if folder == root:
            break


def _sync_one(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
