"""What is known of one log: where its chunks begin, how far it goes, whether it is folded.

The objects are the truth and this is a memory of them, which may be behind when another
coordinator writes. It is never ahead: a size is told only once the chunk before it is durable.
"""

from __future__ import annotations

import asyncio
import hashlib
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise

import obstore
import structlog
from obstore.store import ObjectStore

from coordinator.object_ports import LogDigest
from coordinator.objects import log_format
from coordinator.objects.log_format import ChunkHeader, DamagedLog, FramesIndex
from coordinator.objects.stores import make_durable

log = structlog.get_logger(__name__)

_LIST_BATCH = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A piece of one chunk's text: bytes `first` to `last` of it."""

    key: str
    chunk_start: int
    """The text offset at which the chunk begins."""
    text_bytes: int
    frame_count: int
    first: int
    last: int


@dataclass(slots=True, kw_only=True)
class LogIndex:
    prefix: str
    loaded: bool = False
    size: int = 0
    starts: array[int] = field(default_factory=lambda: array("Q"))
    frame_counts: array[int] = field(default_factory=lambda: array("L"))
    seal: LogDigest | None = None
    """Set once the log is closed."""
    folded: FramesIndex | None = None
    hasher: hashlib._Hash = field(default_factory=hashlib.sha256)
    hashed_bytes: int = 0
    """How much of the text `hasher` has seen."""
    deleted: bool = False
    """It is not to be folded, which may have been about to begin."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by whoever changes the log or this index."""

    def add(self, header: ChunkHeader) -> None:
        self.starts.append(self.size)
        self.frame_counts.append(header.frame_count)
        self.size += header.text_bytes

    def forget(self) -> None:
        """Return to knowing nothing, but what was hashed: text never changes."""
        self.loaded, self.size, self.seal, self.folded = False, 0, None, None
        del self.starts[:], self.frame_counts[:]

    def spans(self, start: int, end: int) -> Iterator[Span]:
        """The pieces of chunks that hold the text from `start` to `end`, in order."""
        index = bisect_right(self.starts, start) - 1
        while start < end:
            chunk_start = self.starts[index]
            following = self.starts[index + 1] if index + 1 < len(self.starts) else self.size
            stop = min(following, end)
            yield Span(
                key=log_format.chunk_key(self.prefix, chunk_start),
                chunk_start=chunk_start,
                text_bytes=following - chunk_start,
                frame_count=self.frame_counts[index],
                first=start - chunk_start,
                last=stop - chunk_start,
            )
            start, index = stop, index + 1


class LogDiscovery:
    """Learns from the objects what an index does not know. Its callers hold the index's lock."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def load(self, index: LogIndex) -> None:
        """Fill an empty index by listing. Raises DamagedLog."""
        if index.loaded:
            return
        index.forget()
        # A listing is no snapshot. Whatever the first one saw, all chunks before it were stored
        # when the second began; and none is deleted before `frames` exists, looked for after it.
        seen = await self.offsets(index.prefix)
        listed = await self.offsets(index.prefix)
        if await self.object_bytes(log_format.frames_key(index.prefix)) is not None:
            await self._load_folded(index)
        else:
            await self._load_chunks(index, {key: listed[key] for key in seen if key in listed})
        index.loaded = True

    async def catch_up(self, index: LogIndex) -> None:
        """Take notice of what another coordinator has added since. Raises DamagedLog."""
        if not index.loaded:
            return await self.load(index)
        while index.seal is None and (header := await self._next_header(index)) is not None:
            await self._admit(index, header)
        if index.seal is None and await self.is_folded(index):
            # Folded meanwhile, so the next chunk may be gone.
            index.forget()
            await self.load(index)
        return None

    async def is_folded(self, index: LogIndex) -> bool:
        return await self.object_bytes(log_format.frames_key(index.prefix)) is not None

    async def object_bytes(self, key: str) -> int | None:
        """The length of an object; None where there is none."""
        try:
            return int((await obstore.head_async(self._store, key))["size"])
        except FileNotFoundError:
            return None

    async def keys(self, prefix: str) -> list[str]:
        """Of all objects of a log."""
        return [
            entry["path"]
            async for batch in obstore.list(self._store, prefix, chunk_size=_LIST_BATCH)
            for entry in batch
        ]

    async def offsets(self, prefix: str) -> dict[int, int]:
        """Offset → object length of all chunks and the seal."""
        found = {}
        async for batch in obstore.list(self._store, prefix, chunk_size=_LIST_BATCH):
            for entry in batch:
                offset = log_format.chunk_offset(entry["path"])
                if offset is not None:
                    found[offset] = int(entry["size"])
        return found

    async def _load_chunks(self, index: LogIndex, lengths: dict[int, int]) -> None:
        offsets = sorted(lengths)
        for offset, following in pairwise(offsets):
            frame_count = log_format.frame_count(lengths[offset], following - offset)
            if offset != index.size or frame_count is None:
                raise DamagedLog(
                    log_format.chunk_key(index.prefix, offset),
                    "of a wrong length, or a gap follows",
                )
            index.add(
                ChunkHeader(sealed=False, text_bytes=following - offset, frame_count=frame_count)
            )
        header = await self._next_header(index)
        if header is not None:
            await self._admit(index, header)

    async def _load_folded(self, index: LogIndex) -> None:
        key = log_format.frames_key(index.prefix)
        length = await self.object_bytes(key) or 0
        trailer_at = length - log_format.TRAILER.size
        if trailer_at < 0:
            raise DamagedLog(key, "shorter than its trailer")
        trailer = log_format.decode_trailer(key, await self.read_range(key, trailer_at, length))
        offsets_at = trailer_at - 8 * trailer.block_count
        index.size = trailer.text_bytes
        index.folded = FramesIndex(
            block_offsets=log_format.decode_block_offsets(
                await self.read_range(key, offsets_at, trailer_at)
            ),
            record_bytes=offsets_at,
        )
        index.seal = await self._read_seal(index)

    async def read_range(self, key: str, start: int, end: int) -> bytes:
        """Raises FileNotFoundError; DamagedLog if the object is shorter."""
        if start >= end:
            return b""
        body = bytes(await obstore.get_range_async(self._store, key, start=start, end=end))
        if len(body) != end - start:
            raise DamagedLog(key, f"ends before byte {end}")
        return body

    async def _next_header(self, index: LogIndex) -> ChunkHeader | None:
        """The header of what is stored at the log's known end, None if that is the end.

        A power cut can leave there a chunk that is not whole. It was never acknowledged, so it is
        removed: its sender comes again.
        """
        key = log_format.chunk_key(index.prefix, index.size)
        length = await self.object_bytes(key)
        if length is None:
            return None
        try:
            header = log_format.decode_header(
                key, await self.read_range(key, 0, min(length, log_format.HEADER.size))
            )
            if log_format.chunk_bytes(header) != length:
                raise DamagedLog(key, "not as long as its header says")
        except FileNotFoundError:
            return None
        except DamagedLog as damage:
            log.warning("torn_log_chunk_removed", key=key, fault=damage.fault)
            with suppress(FileNotFoundError):
                await obstore.delete_async(self._store, key)
            return None
        return header

    async def _admit(self, index: LogIndex, header: ChunkHeader) -> None:
        key = log_format.chunk_key(index.prefix, index.size)
        # Its writer may have died between storing it and making it durable.
        await make_durable(self._store, key)
        if header.sealed:
            index.seal = await self._read_seal(index)
        else:
            index.add(header)

    async def _read_seal(self, index: LogIndex) -> LogDigest:
        key = log_format.chunk_key(index.prefix, index.size)
        body = bytes(await (await obstore.get_async(self._store, key)).bytes_async())
        return log_format.decode_seal(key, body)
