"""Packs of repositories in an object store: `repositories/<project>/<32 digits by chance>`.

A pack and its index are one object, since what a store bills is puts; whoever fetches it needs both
and indexes nothing anew.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import IO
from uuid import uuid4

import obstore
from obstore.store import ObjectStore

from coordinator.domain.pushes.stored_repository import StoredObject
from coordinator.object_ports import PackDamaged
from coordinator.objects.stores import make_durable
from coordinator.objects.timed import Used, nobody_counts, timed

PREFIX = "repositories/"
PART_BYTES = 8 * 1024 * 1024
"""What is smaller is put by one request."""
_STREAM_BYTES = 1024 * 1024
_AT_ONCE = 4
_PARTS_AT_ONCE = 2


class ObjectPackStore:
    """Implements object_ports.PackStore. Holds at most `_AT_ONCE * (_PARTS_AT_ONCE + 1)` parts in
    memory."""

    def __init__(self, store: ObjectStore, used: Used = nobody_counts) -> None:
        self._store, self._used = store, used
        self._gate = asyncio.Semaphore(_AT_ONCE)

    @timed("put")
    async def put(self, project_id: str, pack: Path, index: Path) -> StoredObject:
        key = f"{PREFIX}{project_id}/{uuid4().hex}"
        sizes = [path.stat().st_size for path in (pack, index)]
        digest = hashlib.sha256()
        pieces = _pieces([pack, index], digest)
        async with self._gate:
            if sum(sizes) <= PART_BYTES:
                body = b"".join([piece async for piece in pieces])
                await obstore.put_async(self._store, key, body, mode="create")
            else:
                await obstore.put_async(
                    self._store,
                    key,
                    pieces,
                    chunk_size=PART_BYTES,
                    max_concurrency=_PARTS_AT_ONCE,
                )
            await make_durable(self._store, key)
        return StoredObject(
            object=key, pack_bytes=sizes[0], index_bytes=sizes[1], sha256=digest.hexdigest()
        )

    @timed("get")
    async def get(self, stored: StoredObject, pack: Path, index: Path) -> None:
        async with self._gate:
            try:
                found = await obstore.get_async(self._store, stored.object)
            except FileNotFoundError as error:
                raise KeyError(stored.object) from error
            with pack.open("wb") as first, index.open("wb") as second:
                taking = _Taking(first, second, stored.pack_bytes)
                async for chunk in found.stream(min_chunk_size=_STREAM_BYTES):
                    await asyncio.to_thread(taking.take, bytes(chunk))
                await asyncio.to_thread(taking.end)
        whole = stored.pack_bytes + stored.index_bytes
        if (taking.size, taking.digest.hexdigest()) != (whole, stored.sha256):
            raise PackDamaged(f"{stored.object} is not what was put there")

    @timed("delete")
    async def delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            with suppress(FileNotFoundError):
                await obstore.delete_async(self._store, key)

    async def listed(self, project_id: str | None) -> AsyncIterator[tuple[str, str, datetime]]:
        prefix = PREFIX if project_id is None else f"{PREFIX}{project_id}/"
        async for some in obstore.list(self._store, prefix):
            for one in some:
                yield one["path"].split("/")[1], one["path"], one["last_modified"]


class _Taking:
    """Blocking."""

    def __init__(self, first: IO[bytes], second: IO[bytes], first_bytes: int) -> None:
        self._first, self._second, self._first_bytes = first, second, first_bytes
        self.size, self.digest = 0, hashlib.sha256()

    def take(self, chunk: bytes) -> None:
        self.digest.update(chunk)
        left = max(self._first_bytes - self.size, 0)
        self._first.write(chunk[:left])
        self._second.write(chunk[left:])
        self.size += len(chunk)

    def end(self) -> None:
        for file in (self._first, self._second):
            file.flush()
            os.fsync(file.fileno())


async def _pieces(paths: Sequence[Path], digest: hashlib._Hash) -> AsyncIterator[bytes]:
    for path in paths:
        with path.open("rb") as file:
            while piece := await asyncio.to_thread(_next, file, digest):
                yield piece


def _next(file: IO[bytes], digest: hashlib._Hash) -> bytes:
    piece = file.read(_STREAM_BYTES)
    digest.update(piece)
    return piece
