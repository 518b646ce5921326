"""Adding to a log that is not folded.

What comes at an offset is said by the row of the database that starts there: text, a fence or the
seal. Text that the tail has no room for goes, with the tail, into a chunk: first the fence is
added, then the chunk is created where the tail begins. Who finds a fence whose chunk is not there,
because its writer died or is slow, creates that chunk; of two only one can. Rows that a chunk has
go with the next change.

A change that finds another's in its place says so and leaves an index that has to be learnt anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import obstore
from obstore.exceptions import AlreadyExistsError

from coordinator.object_ports import LogDigest, LogPiece, PieceKind
from coordinator.objects import log_format
from coordinator.objects.log_discovery import LogDiscovery
from coordinator.objects.log_index import LogIndex
from coordinator.objects.open_log import OpenLogReading
from coordinator.objects.stores import make_durable
from coordinator.objects.tail_frames import body_of
from pipelines_schema.log_frames import Frame

TAIL_BYTES = 64 * 1024
"""The text that the database holds of a log at the most."""
TAIL_BODY_BYTES = 16 * TAIL_BYTES
"""With the records of its frames: more than 64 KiB of frames of a byte each have."""
TAIL_PIECES = 64
"""So many appends become one row."""
HASHED_AT_ONCE = 1024 * 1024
_INLINE_HASH_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class LogWriting:
    """Its callers hold the index's lock."""

    discovery: LogDiscovery
    open: OpenLogReading
    tail_bytes: int = TAIL_BYTES

    async def added(self, index: LogIndex, frames: Sequence[Frame]) -> bool:
        """False where this index was behind."""
        text_bytes = sum(len(frame.data) for frame in frames)
        body = body_of(frames)
        fits = (
            index.size - index.chunks_end + text_bytes <= self.tail_bytes
            and index.tail_body_bytes + len(body) <= TAIL_BODY_BYTES
        )
        if index.fence is not None or not fits:
            return await self.spilled(index, frames)
        piece = LogPiece(
            start=index.size,
            kind=PieceKind.TEXT,
            end=index.size + text_bytes,
            body_bytes=len(body),
        )
        if not await self._add(index, piece, body):
            return False
        await _hash(index, b"".join(frame.data for frame in frames))
        index.add_text(piece)
        return True

    async def _add(self, index: LogIndex, piece: LogPiece, body: bytes = b"") -> bool:
        """Add a row of the database; False where this index was behind."""
        if index.has_remnants:
            await self.open.tails.drop_before(index.attempt_id, index.chunks_end)
            index.has_remnants, index.newest = False, None
        first = index.newest is None
        merged = None
        if piece.kind is PieceKind.TEXT and len(index.tail) >= TAIL_PIECES:
            merged = LogPiece(
                start=index.chunks_end,
                kind=PieceKind.TEXT,
                end=piece.start,
                body_bytes=index.tail_body_bytes,
            )
        added = await self.open.tails.add(
            index.attempt_id, piece, body, first=first, settled=index.settled, merged=merged
        )
        if not added:
            return False
        if first and await self.discovery.stands_in_store(index, piece.start):
            await self.open.tails.remove(index.attempt_id, piece.start)
            return False
        if merged is not None:
            index.tail[:] = [merged]
        index.settled, index.newest = None, piece
        return True

    async def spilled(self, index: LogIndex, frames: Sequence[Frame]) -> bool:
        """Put the tail and what follows into a chunk; False where another decides what follows."""
        fence = index.fence
        if fence is None:
            fence = LogPiece(start=index.size, kind=PieceKind.FENCE, end=index.chunks_end)
            if not await self._add(index, fence):
                return False
            index.fence = fence
        try:
            tail = await self.open.frames(index, fence.end, fence.start)
        except FileNotFoundError:
            return False
        body = log_format.encode_chunk([*(line.frame for line in tail), *frames])
        key = log_format.chunk_key(index.prefix, fence.end)
        try:
            await obstore.put_async(self.open.ranges.store, key, body, mode="create")
        except AlreadyExistsError:
            return False
        await make_durable(self.open.ranges.store, key)
        await _hash(index, b"".join(frame.data for frame in frames))
        index.add_chunk(log_format.decode_header(key, body[: log_format.HEADER.size]))
        index.settle(fence)
        return True

    async def seal(self, index: LogIndex) -> None:
        """Or learn that another has changed the log; then it is to be tried again."""
        digest = await self.digest(index)
        if index.seal is not None:
            return
        if index.fence is not None:
            added = await self._decided(index, index.fence, digest)
        else:
            piece = LogPiece(start=index.size, kind=PieceKind.SEAL, end=index.size)
            added = await self._add(index, piece, log_format.encode_seal(digest))
            index.seal = digest if added else None
        if not added:
            index.forget()
            await self.discovery.load(index)

    async def _decided(self, index: LogIndex, fence: LogPiece, digest: LogDigest) -> bool:
        """No chunk of another comes where the fence is: one without its lines, or the end."""
        if fence.end < fence.start:
            return await self.spilled(index, [])
        key = log_format.chunk_key(index.prefix, fence.start)
        try:
            await obstore.put_async(
                self.open.ranges.store, key, log_format.encode_seal(digest), mode="create"
            )
        except AlreadyExistsError:
            return False
        await make_durable(self.open.ranges.store, key)
        index.seal = digest
        return True

    async def text(self, index: LogIndex, start: int, end: int) -> bytes:
        if start >= end:
            return b""
        if index.folded is not None:
            return await index.folded.text(start, end)
        return await self.open.text(index, start, end)

    async def digest(self, index: LogIndex) -> LogDigest:
        """Raises FileNotFoundError where the log changes all the time."""
        for last in (False, False, True):
            if index.seal is not None:
                return index.seal
            try:
                while index.hashed_bytes < index.size:
                    start = index.hashed_bytes
                    end = min(start + HASHED_AT_ONCE, index.size)
                    await _hash(index, await self.text(index, start, end), at=start)
                break
            except FileNotFoundError:  # another has put it elsewhere meanwhile
                if last:
                    raise
                index.forget()
                await self.discovery.load(index)
        return LogDigest(size=index.size, sha256=index.hasher.hexdigest())


async def _hash(index: LogIndex, text: bytes, at: int | None = None) -> None:
    """The text at the log's end, or at that offset, if what is before it was hashed.

    On a copy: one who is cancelled here leaves hasher and `hashed_bytes` as they were, both,
    though the thread goes on.
    """
    if index.hashed_bytes != (index.size if at is None else at):
        return
    hasher = index.hasher.copy()
    if len(text) <= _INLINE_HASH_BYTES:
        hasher.update(text)
    else:
        await asyncio.to_thread(hasher.update, text)
    index.hasher, index.hashed_bytes = hasher, index.hashed_bytes + len(text)
