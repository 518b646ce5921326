"""Logs of attempts as immutable objects."""

from __future__ import annotations

import asyncio
import hashlib
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import TypeVar

import obstore
from obstore.exceptions import AlreadyExistsError
from obstore.store import ObjectStore

from coordinator.object_ports import LogDigest, LogLine, OffsetMismatch
from coordinator.objects import log_format
from coordinator.objects.log_format import DamagedLog, FramesIndex, FramesWriter
from coordinator.objects.log_index import LogDiscovery, LogIndex, Span
from coordinator.objects.stores import make_durable
from coordinator.objects.timed import Used, nobody_counts, timed
from pipelines_schema.log_frames import Frame

_T = TypeVar("_T")

_PARALLEL_READS = 16
_READ_ATTEMPTS = 5
_FOLD_BYTES = 4 * 1024 * 1024
"""How much text is in memory at a time while a log is hashed or folded."""


class LogClosed(OffsetMismatch):
    """The log was closed: nothing can be appended to it any more."""


class ObjectLogStore:
    """Implements object_ports.LogStore over any object store that puts an object only if it is new.

    Keys are `logs/<attempt>/…`, see log_format. Several coordinators may share one store.
    """

    def __init__(
        self, store: ObjectStore, used: Used = nobody_counts, *, remembered_logs: int = 1024
    ) -> None:
        """`used` is told of each `append`, `read`, `fold` and `delete`."""
        self._store, self._used = store, used
        self._remembered_logs = remembered_logs
        self._discovery = LogDiscovery(store)
        self._indexes: OrderedDict[str, LogIndex] = OrderedDict()

    @timed("append")
    async def append(self, attempt_id: str, offset: int, frames: Sequence[Frame]) -> int:
        """Store one chunk; return the new size. Raises OffsetMismatch, LogClosed.

        Bytes that are stored already are not compared: their sender resumes at the size.
        """
        chunk = [frame for frame in frames if frame.data]
        index = self._index(attempt_id)
        async with index.lock:
            await self._discovery.load(index)
            if offset != index.size or index.seal is not None:
                await self._discovery.catch_up(index)
            if offset != index.size:
                raise OffsetMismatch(index.size)
            if not chunk:
                return index.size
            if index.seal is not None:
                raise LogClosed(index.size)
            await self._store_chunk(index, chunk)
            return index.size

    async def size(self, attempt_id: str) -> int:
        return (await self._reaching(attempt_id, None)).size

    @timed("read")
    async def read(self, attempt_id: str, offset: int, max_bytes: int) -> bytes:
        async def read_from(index: LogIndex) -> bytes:
            end = min(offset + max_bytes, index.size)
            if index.folded is not None:
                return await self._read_folded_text(index, offset, end)
            return b"".join(await _in_order(self._read_span, index.spans(min(offset, end), end)))

        return await self._retried(attempt_id, offset, read_from)

    @timed("read")
    async def frames(self, attempt_id: str, offset: int, max_bytes: int) -> Sequence[LogLine]:
        async def read_from(index: LogIndex) -> Sequence[LogLine]:
            end = min(offset + max_bytes, index.size)
            if index.folded is not None:
                return await self._read_folded_lines(index, index.folded, offset, end)
            parts = await _in_order(self._read_span_lines, index.spans(min(offset, end), end))
            return [line for part in parts for line in part]

        return await self._retried(attempt_id, offset, read_from)

    def begin(self, attempt_id: str) -> None:
        # Also in the middle of a listing, which finds as little.
        self._index(attempt_id).loaded = True

    async def digest(self, attempt_id: str, *, sent_bytes: int | None = None) -> LogDigest:
        index = self._index(attempt_id)
        async with index.lock:
            if not index.loaded or index.size != sent_bytes:
                await self._discovery.catch_up(index)
            return await self._digest(index)

    @timed("fold")
    async def close(self, attempt_id: str) -> None:
        """Fold the chunks into one text and one frames object; again, if it was cut short.

        The seal comes first: no append gets past it. The chunks go last. Until then they are what
        is read, so a crash at any point leaves the log whole.
        """
        index = self._index(attempt_id)
        async with index.lock:
            if index.deleted:
                return
            await self._discovery.catch_up(index)
            while index.seal is None:
                await self._put_seal(index)
            if index.folded is None:
                await self._fold(index, index.seal)
            await self._delete_chunks(index)

    @timed("delete")
    async def delete(self, attempt_id: str) -> None:
        """The records that say it is folded go first: a reader then finds nothing, not a half."""
        index = self._index(attempt_id)
        async with index.lock:
            index.deleted = True
            keys = await self._discovery.keys(index.prefix)
            for key in sorted(keys, key=lambda key: key != log_format.frames_key(index.prefix)):
                with suppress(FileNotFoundError):
                    await obstore.delete_async(self._store, key)
            index.forget()

    def _index(self, attempt_id: str) -> LogIndex:
        index = self._indexes.get(attempt_id)
        if index is None:
            index = LogIndex(prefix=log_format.log_prefix(attempt_id))
            self._indexes[attempt_id] = index
        self._indexes.move_to_end(attempt_id)
        while len(self._indexes) > self._remembered_logs:
            self._indexes.popitem(last=False)
        return index

    async def _store_chunk(self, index: LogIndex, frames: Sequence[Frame]) -> None:
        key = log_format.chunk_key(index.prefix, index.size)
        body = log_format.encode_chunk(frames)
        try:
            await obstore.put_async(self._store, key, body, mode="create")
        except AlreadyExistsError as error:
            await self._discovery.catch_up(index)
            raise (OffsetMismatch if index.seal is None else LogClosed)(index.size) from error
        await make_durable(self._store, key)
        if await self._discovery.is_folded(index):
            # This index was behind: a chunk of that offset had been folded and deleted.
            with suppress(FileNotFoundError):
                await obstore.delete_async(self._store, key)
            index.forget()
            await self._discovery.load(index)
            raise LogClosed(index.size)
        header = log_format.decode_header(key, body[: log_format.HEADER.size])
        if index.hashed_bytes == index.size:
            await _hash(index, memoryview(body)[log_format.HEADER.size :][: header.text_bytes])
        index.add(header)

    async def _reaching(self, attempt_id: str, offset: int | None) -> LogIndex:
        """The log's index, brought up to date if it does not reach beyond `offset`."""
        index = self._index(attempt_id)
        if not index.loaded or (index.seal is None and (offset is None or offset >= index.size)):
            async with index.lock:
                await self._discovery.catch_up(index)
        return index

    async def _retried(
        self, attempt_id: str, offset: int, read_from: Callable[[LogIndex], Awaitable[_T]]
    ) -> _T:
        """Read, again if the chunks were folded meanwhile."""
        for _ in range(_READ_ATTEMPTS):
            index = await self._reaching(attempt_id, offset)
            try:
                return await read_from(index)
            except FileNotFoundError:
                async with index.lock:
                    index.forget()
                    await self._discovery.load(index)
        raise DamagedLog(index.prefix, "objects are missing")

    async def _read_span(self, span: Span) -> bytes:
        at = log_format.HEADER.size
        return await self._discovery.read_range(span.key, at + span.first, at + span.last)

    async def _read_span_lines(self, span: Span) -> Sequence[LogLine]:
        records_at = log_format.HEADER.size + span.text_bytes
        records_end = records_at + span.frame_count * log_format.RECORD.size
        text = await self._read_span(span)
        records = await self._discovery.read_range(span.key, records_at, records_end)
        return list(
            log_format.cut_lines(
                records,
                text,
                records_at=span.chunk_start,
                text_at=span.chunk_start + span.first,
                start=span.chunk_start + span.first,
                end=span.chunk_start + span.last,
            )
        )

    async def _read_folded_text(self, index: LogIndex, start: int, end: int) -> bytes:
        return await self._discovery.read_range(log_format.text_key(index.prefix), start, end)

    async def _read_folded_lines(
        self, index: LogIndex, folded: FramesIndex, start: int, end: int
    ) -> Sequence[LogLine]:
        if start >= end:
            return []
        block_bytes = log_format.RECORDS_PER_BLOCK * log_format.RECORD.size
        first = bisect_right(folded.block_offsets, start) - 1
        after = bisect_left(folded.block_offsets, end)
        records = await self._discovery.read_range(
            log_format.frames_key(index.prefix),
            first * block_bytes,
            min(after * block_bytes, folded.record_bytes),
        )
        text = await self._read_folded_text(index, start, end)
        return list(
            log_format.cut_lines(
                records,
                text,
                records_at=folded.block_offsets[first],
                text_at=start,
                start=start,
                end=end,
            )
        )

    async def _digest(self, index: LogIndex) -> LogDigest:
        if index.seal is not None:
            return index.seal
        async for text in self._texts(index, index.hashed_bytes):
            await _hash(index, text)
        return LogDigest(size=index.size, sha256=index.hasher.hexdigest())

    async def _texts(self, index: LogIndex, start: int) -> AsyncIterator[bytes]:
        """The text of the chunks from `start` to the end, in bounded pieces."""
        while start < index.size:
            end = min(start + _FOLD_BYTES, index.size)
            text = b"".join(await _in_order(self._read_span, index.spans(start, end)))
            yield text
            start = end

    async def _put_seal(self, index: LogIndex) -> None:
        digest = await self._digest(index)
        key = log_format.chunk_key(index.prefix, index.size)
        try:
            await obstore.put_async(self._store, key, log_format.encode_seal(digest), mode="create")
        except AlreadyExistsError:
            await self._discovery.catch_up(index)
            return
        await make_durable(self._store, key)
        index.seal = digest

    async def _fold(self, index: LogIndex, seal: LogDigest) -> None:
        text = self._checked_text(index, seal)
        try:
            await self._put_streamed(log_format.text_key(index.prefix), text)
            await self._put_streamed(log_format.frames_key(index.prefix), self._records(index))
        except FileNotFoundError:
            # Unless the log is damaged, another coordinator was quicker.
            if not await self._discovery.is_folded(index):
                raise
        index.forget()
        await self._discovery.load(index)

    async def _put_streamed(self, key: str, pieces: AsyncIterator[bytes]) -> None:
        await obstore.put_async(self._store, key, pieces, max_concurrency=2)
        await make_durable(self._store, key)

    async def _checked_text(self, index: LogIndex, expected: LogDigest) -> AsyncIterator[bytes]:
        hasher = hashlib.sha256()
        async for text in self._texts(index, 0):
            await asyncio.to_thread(hasher.update, text)
            yield text
        if hasher.hexdigest() != expected.sha256:
            raise DamagedLog(index.prefix, "its text is no longer what was acknowledged")

    async def _records(self, index: LogIndex) -> AsyncIterator[bytes]:
        writer = FramesWriter()
        for span in list(index.spans(0, index.size)):
            records_at = log_format.HEADER.size + span.text_bytes
            records_end = records_at + span.frame_count * log_format.RECORD.size
            records = await self._discovery.read_range(span.key, records_at, records_end)
            await asyncio.to_thread(writer.add, records)
            yield records
        yield writer.end()

    async def _delete_chunks(self, index: LogIndex) -> None:
        """Delete what was folded, but not the seal: it keeps the digest and shuts the log."""
        while chunks := [
            log_format.chunk_key(index.prefix, offset)
            for offset in await self._discovery.offsets(index.prefix)
            if offset < index.size
        ]:
            # Another coordinator that does the same may be a step ahead.
            with suppress(FileNotFoundError):
                await obstore.delete_async(self._store, chunks)


async def _hash(index: LogIndex, text: bytes | memoryview) -> None:
    """On a copy: one who is cancelled here leaves hasher and `hashed_bytes` as they were, both,
    though the thread goes on."""
    hasher = index.hasher.copy()
    await asyncio.to_thread(hasher.update, text)
    index.hasher, index.hashed_bytes = hasher, index.hashed_bytes + len(text)


async def _in_order(read: Callable[[Span], Awaitable[_T]], spans: Iterable[Span]) -> list[_T]:
    """Read all spans, a few at a time, and return what was read in their order."""
    waiting, results = list(spans), []
    for position in range(0, len(waiting), _PARALLEL_READS):
        batch = waiting[position : position + _PARALLEL_READS]
        results += await asyncio.gather(*(read(span) for span in batch))
    return results
