"""Writing a folded log: piece by piece, packed in threads, by one put where it is small."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import obstore
from obstore.store import ObjectStore

from coordinator.object_ports import LogDigest
from coordinator.objects.folded_log import FoldedWriter
from coordinator.objects.log_format import DamagedLog
from coordinator.objects.stores import make_durable
from pipelines_schema.log_frames import Frame

_PUT_BYTES = 4 * 1024 * 1024
"""An object up to this is put by one request; a store wants at least three for one in parts."""


async def put_folded(
    store: ObjectStore, key: str, pieces: AsyncIterator[Sequence[Frame]], seal: LogDigest
) -> None:
    """Durably. It replaces what an earlier try left.

    Raises FileNotFoundError; DamagedLog, with nothing put, where the text is not what was sealed.
    """
    packed = _packed(key, pieces, seal)
    begin = bytearray()
    async for data in packed:
        begin += data
        if len(begin) > _PUT_BYTES:
            whole = _chained(bytes(begin), packed)
            await obstore.put_async(store, key, whole, max_concurrency=2)
            break
    else:
        await obstore.put_async(store, key, bytes(begin))
    await make_durable(store, key)


async def _packed(
    key: str, pieces: AsyncIterator[Sequence[Frame]], seal: LogDigest
) -> AsyncIterator[bytes]:
    writer = FoldedWriter()
    async for frames in pieces:
        yield await asyncio.to_thread(writer.add, frames)
    if writer.digest != seal:
        raise DamagedLog(key, "its text is no longer what was acknowledged")
    yield await asyncio.to_thread(writer.end)


async def _chained(begin: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield begin
    async for data in rest:
        if data:
            yield data
