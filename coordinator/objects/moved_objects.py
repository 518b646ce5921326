"""All objects of one store put into another, several at once, each compared by its digest.

What is there already, with the right bytes, is not sent again. Of a large object parts are held,
never the whole.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import obstore
from obstore.store import ObjectStore

from coordinator.object_ports import ObjectsUnusable
from coordinator.objects.places import MOVING_KEY, PROBE_KEY
from coordinator.objects.stores import make_durable

AT_ONCE = 8
WHOLE_BYTES = 5 * 1024 * 1024
"""Up to so many are put by one request; a larger object goes in parts of that size."""
_PARTS_AT_ONCE = 2
_CHUNK_BYTES = 1024 * 1024
_BLOB = re.compile(r"blobs/[^/]+/[0-9a-f]{2}/([0-9a-f]{64})")
_OWN_KEYS = frozenset({PROBE_KEY, MOVING_KEY})


@dataclass(slots=True, kw_only=True)
class ObjectsSum:
    keys: set[str] = field(default_factory=set)
    """Those that the source has."""
    bytes: int = 0
    sent_objects: int = 0
    sent_bytes: int = 0
    removed: int = 0
    """Of an earlier try, which the source has no more."""
    differing: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    """Whose name says another digest, in the source already."""

    @property
    def objects(self) -> int:
        return len(self.keys)


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectsMove:
    source: ObjectStore
    target: ObjectStore
    where: str
    """The target, for people."""
    tell: Callable[[str, str], None]
    """Told of each key before it is looked at (`object`), and after (`object there`)."""

    async def move(self) -> ObjectsSum:
        """Raises ObjectsUnusable, obstore's errors, FileNotFoundError."""
        found = ObjectsSum()

        async def send(key: str, size: int) -> None:
            digest = await self._there(key, size)
            if digest is None:
                digest = await self._put(key, size)
                found.sent_objects += 1
                found.sent_bytes += size
            _note_damaged(found, key, digest)

        await self._each(send, found)
        await self._remove_others(found)
        return found

    async def compare(self) -> ObjectsSum:
        """Of both stores all objects are read; of those that differ the keys are told."""
        found = ObjectsSum()

        async def look(key: str, size: int) -> None:
            digest = await self._there(key, size)
            if digest is None:
                found.differing.append(key)
            else:
                _note_damaged(found, key, digest)

        await self._each(look, found)
        async for key, _ in _keys(self.target):
            if key not in found.keys:
                found.differing.append(key)
        return found

    async def _each(
        self, work: Callable[[str, int], Coroutine[Any, Any, None]], found: ObjectsSum
    ) -> None:
        keys: asyncio.Queue[tuple[str, int] | None] = asyncio.Queue(AT_ONCE)

        async def take() -> None:
            while (one := await keys.get()) is not None:
                key, size = one
                self.tell("object", key)
                await work(key, size)
                found.keys.add(key)
                found.bytes += size
                self.tell("object there", key)

        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(take())
            async for one in _keys(self.source):
                await keys.put(one)
            for _ in range(AT_ONCE):
                await keys.put(None)

    async def _there(self, key: str, size: int) -> str | None:
        """Its digest, if the target has the same bytes."""
        if await _size(self.target, key) != size:
            return None
        mine, theirs = await asyncio.gather(_digest(self.source, key), _digest(self.target, key))
        return mine if mine == theirs else None

    async def _put(self, key: str, size: int) -> str:
        """Returns its digest, after it was read back. Raises ObjectsUnusable."""
        digest = hashlib.sha256()
        if size <= WHOLE_BYTES:
            got = await obstore.get_async(self.source, key)
            content = bytes(await got.bytes_async())
            digest.update(content)
            await obstore.put_async(self.target, key, content)
        else:
            writer = obstore.open_writer_async(
                self.target, key, buffer_size=WHOLE_BYTES, max_concurrency=_PARTS_AT_ONCE
            )
            async with writer:
                async for chunk in _read(self.source, key, digest):
                    await writer.write(chunk)
        await make_durable(self.target, key)
        if await _digest(self.target, key) != digest.hexdigest():
            raise ObjectsUnusable(
                self.where,
                f"{key} is not there as it was put: see that nobody else writes to it, and run "
                "this again",
            )
        return digest.hexdigest()

    async def _remove_others(self, found: ObjectsSum) -> None:
        """A coordinator that went on after an earlier try has deleted, or folded, since."""
        others = [key async for key, _ in _keys(self.target) if key not in found.keys]
        for key in others:
            await obstore.delete_async(self.target, key)
        found.removed = len(others)


def _note_damaged(found: ObjectsSum, key: str, digest: str) -> None:
    named = _BLOB.fullmatch(key)
    if named is not None and named[1] != digest:
        found.damaged.append(key)


async def _keys(store: ObjectStore) -> AsyncIterator[tuple[str, int]]:
    async for some in obstore.list(store):
        for one in some:
            if one["path"] not in _OWN_KEYS:
                yield one["path"], one["size"]


async def _size(store: ObjectStore, key: str) -> int | None:
    try:
        return int((await obstore.head_async(store, key))["size"])
    except FileNotFoundError:
        return None


async def _read(store: ObjectStore, key: str, digest: hashlib._Hash) -> AsyncIterator[bytes]:
    got = await obstore.get_async(store, key)
    async for chunk in got.stream(min_chunk_size=_CHUNK_BYTES):
        content = bytes(chunk)
        await asyncio.to_thread(digest.update, content)
        yield content


async def _digest(store: ObjectStore, key: str) -> str:
    digest = hashlib.sha256()
    async for _ in _read(store, key, digest):
        pass
    return digest.hexdigest()


# What is at a store before anything is moved to it


async def unfinished_move(store: ObjectStore) -> str | None:
    """Its number."""
    try:
        found = await obstore.get_async(store, MOVING_KEY)
        return bytes(await found.bytes_async()).decode(errors="replace").strip()
    except FileNotFoundError:
        return None


async def begin_move(store: ObjectStore, move: str) -> None:
    await obstore.put_async(store, MOVING_KEY, move.encode())
    await make_durable(store, MOVING_KEY)


async def end_move(store: ObjectStore) -> None:
    if await _size(store, MOVING_KEY) is not None:
        await obstore.delete_async(store, MOVING_KEY)


async def first_key(store: ObjectStore) -> str | None:
    """Of something that is there; None if it is as good as new."""
    async for key, _ in _keys(store):
        return key
    return None


async def refuse_unfinished(store: ObjectStore, location: str | Path) -> None:
    """Raises ObjectsUnusable, and obstore's errors."""
    if await unfinished_move(store) is not None:
        raise ObjectsUnusable(
            str(location),
            "a move to it was begun and not finished: run `pushrod migrate` again, it goes on "
            "where it stopped",
        )
