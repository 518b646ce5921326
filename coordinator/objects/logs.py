"""Logs of attempts: their newest lines in the database, the others as immutable objects."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TypeVar

import obstore
from obstore.store import ObjectStore

from coordinator.object_ports import (
    LogClosed,
    LogDigest,
    LogLine,
    LogRange,
    LogTails,
    OffsetMismatch,
    PieceKind,
)
from coordinator.objects import log_format
from coordinator.objects.folded_reading import FoldedLog
from coordinator.objects.folding import put_folded
from coordinator.objects.line_search import find_lines
from coordinator.objects.log_discovery import LogDiscovery
from coordinator.objects.log_format import DamagedLog
from coordinator.objects.log_index import LogIndex
from coordinator.objects.log_writing import HASHED_AT_ONCE, TAIL_BYTES, LogWriting
from coordinator.objects.open_log import OpenLogReading
from coordinator.objects.ranges import Ranges
from coordinator.objects.timed import Used, nobody_counts, timed
from pipelines_schema.log_frames import Frame

_T = TypeVar("_T")

_READ_ATTEMPTS = 5
_TRIES = 3


class ObjectLogStore:
    """Implements object_ports.LogStore over any object store that puts an object only if it is new.

    Keys are `logs/<attempt>/…`, see log_format. Several coordinators may share one store and one
    database.
    """

    def __init__(
        self,
        store: ObjectStore,
        tails: LogTails,
        used: Used = nobody_counts,
        *,
        remembered_logs: int = 1024,
        tail_bytes: int = TAIL_BYTES,
    ) -> None:
        """`used` is told of each `append`, `read`, `fold` and `delete`."""
        self._store, self._tails, self._used = store, tails, used
        self._remembered_logs = remembered_logs
        self._ranges = Ranges(store)
        self._discovery = LogDiscovery(self._ranges, tails)
        self._open = OpenLogReading(self._ranges, tails)
        self._writing = LogWriting(self._discovery, self._open, tail_bytes)
        self._indexes: OrderedDict[str, LogIndex] = OrderedDict()

    def begin(self, attempt_id: str) -> None:
        index = self._index(attempt_id)
        if not index.loaded:
            index.loaded = index.begun = True

    def is_untouched(self, attempt_id: str) -> bool:
        index = self._indexes.get(attempt_id)
        return index is not None and index.begun and index.newest is None and index.size == 0

    @timed("append")
    async def append(self, attempt_id: str, offset: int, frames: Sequence[Frame]) -> int:
        """Raises OffsetMismatch, LogClosed.

        Bytes that are stored already are not compared: their sender resumes at the size.
        """
        chunk = [frame for frame in frames if frame.data]
        index = self._index(attempt_id)
        async with index.lock:
            for _ in range(_TRIES):
                await self._discovery.load(index)
                if offset != index.size or index.seal is not None or index.fence is not None:
                    await self._discovery.catch_up(index)
                if offset != index.size:
                    break
                if not chunk:
                    return index.size
                if index.seal is not None:
                    raise LogClosed(index.size)
                if await self._writing.added(index, chunk):
                    return index.size
                index.forget()
            await self._discovery.load(index)
            raise OffsetMismatch(index.size)

    async def size(self, attempt_id: str, *, at_least: int = 0) -> int:
        index = await self._reaching(attempt_id, None)
        if index.size < at_least:
            async with index.lock:
                index.forget()
                await self._discovery.load(index)
        return index.size

    @timed("read")
    async def read(self, attempt_id: str, offset: int, max_bytes: int) -> bytes:
        async def read_from(index: LogIndex) -> bytes:
            return await self._writing.text(index, offset, min(offset + max_bytes, index.size))

        return await self._retried(attempt_id, offset, read_from)

    @timed("read")
    async def frames(self, attempt_id: str, offset: int, max_bytes: int) -> Sequence[LogLine]:
        async def read_from(index: LogIndex) -> Sequence[LogLine]:
            end = min(offset + max_bytes, index.size)
            if offset >= end:
                return []
            if index.folded is not None:
                return await index.folded.frames(offset, end)
            return await self._open.frames(index, offset, end)

        return await self._retried(attempt_id, offset, read_from)

    @timed("read")
    async def lines(self, attempt_id: str, first: int, count: int, max_bytes: int) -> LogRange:
        async def read_from(index: LogIndex) -> LogRange:
            if isinstance(index.folded, FoldedLog):
                return await index.folded.lines(first, count, max_bytes)
            size = index.size

            async def read(offset: int, most: int) -> bytes:
                return await self._writing.text(index, offset, min(offset + most, size))

            return await find_lines(read, first, count, max_bytes)

        return await self._retried(attempt_id, None, read_from)

    async def digest(self, attempt_id: str, *, sent_bytes: int | None = None) -> LogDigest:
        index = self._index(attempt_id)
        async with index.lock:
            if not index.loaded or index.size != sent_bytes:
                await self._discovery.catch_up(index)
            return await self._writing.digest(index)

    @timed("fold")
    async def close(self, attempt_id: str) -> int | None:
        """Fold a log, or go on with what was cut short.

        The seal comes first: no append gets past it. Then the whole log, and only when that is
        durable the chunks go, and the rows last (by whoever calls this, see `forget_tail` of
        storage): so a crash at any point leaves the log whole, and something that tells of it.
        """
        index = self._index(attempt_id)
        async with index.lock:
            if index.deleted:
                return None
            await self._discovery.catch_up(index)
            while index.seal is None:
                await self._writing.seal(index)
            had_objects = index.may_have_objects
            if index.folded is None or not await self._is_whole(index):
                await self._fold(index, index.seal)
            if had_objects and isinstance(index.folded, FoldedLog):
                await self._delete_all(index, but=index.key)
            return None if index.folded is None else index.folded.stored_bytes

    async def forget_tail(self, attempt_id: str) -> None:
        await self._tails.forget(attempt_id)

    async def flush(self, attempt_id: str) -> None:
        index = self._index(attempt_id)
        async with index.lock:
            await self._discovery.catch_up(index)
            if index.seal is not None or index.deleted:
                return
            if index.tail and not await self._writing.spilled(index, []):
                index.forget()
                return  # another is about to do it
            if index.settled is not None or index.has_remnants:
                await self._tails.drop_before(attempt_id, index.chunks_end, index.settled)
                index.forget()

    @timed("delete")
    async def delete(self, attempt_id: str) -> None:
        """What says that it is folded goes first: a reader then finds nothing, not a half."""
        index = self._index(attempt_id)
        async with index.lock:
            index.deleted = True
            await self._tails.forget(attempt_id)
            for key in (index.key, log_format.frames_key(index.prefix)):
                with suppress(FileNotFoundError):
                    await obstore.delete_async(self._store, key)
            await self._delete_all(index)
            index.forget()

    def _index(self, attempt_id: str) -> LogIndex:
        index = self._indexes.get(attempt_id)
        if index is None:
            prefix = log_format.log_prefix(attempt_id)
            index = LogIndex(attempt_id=attempt_id, prefix=prefix)
            self._indexes[attempt_id] = index
        self._indexes.move_to_end(attempt_id)
        while len(self._indexes) > self._remembered_logs:
            self._indexes.popitem(last=False)
        return index

    async def _fold(self, index: LogIndex, seal: LogDigest) -> None:
        try:
            await put_folded(self._store, index.key, self._open.pieces(index), seal)
        except FileNotFoundError:
            # Unless the log is damaged, another coordinator was quicker.
            if await self._ranges.object_bytes(index.key) is None:
                raise
        finally:
            index.distrusted = False
            index.forget()
        await self._discovery.load(index)

    async def _is_whole(self, index: LogIndex) -> bool:
        """Whether a folded log that an earlier process left before it forgot the rest is what was
        sealed. Else the index has what it was made of, until that is folded."""
        pieces = await self._tails.pieces(index.attempt_id)
        if not any(piece.kind is PieceKind.SEAL for piece in pieces):
            return True
        hasher, offset = hashlib.sha256(), 0
        try:
            while data := await self._writing.text(
                index, offset, min(offset + HASHED_AT_ONCE, index.size)
            ):
                await asyncio.to_thread(hasher.update, data)
                offset += len(data)
        except DamagedLog:
            offset = -1
        seal = await self._tails.seal(index.attempt_id)
        digest = LogDigest(size=offset, sha256=hasher.hexdigest())
        if seal is None or digest == log_format.decode_seal(index.prefix, seal):
            return True
        # It is replaced, and not before that deleted: what else there is might be damaged, too.
        index.distrusted = True
        index.forget()
        try:
            await self._discovery.load(index)
        except DamagedLog:
            index.distrusted = False
            raise
        return False

    async def _delete_all(self, index: LogIndex, but: str | None = None) -> None:
        """All objects of a log, but one. Another coordinator that does the same may be a step
        ahead."""
        while keys := [key for key in await self._ranges.lengths(index.prefix) if key != but]:
            with suppress(FileNotFoundError):
                await obstore.delete_async(self._store, keys)

    # Reading

    async def _reaching(self, attempt_id: str, offset: int | None) -> LogIndex:
        """The log's index, brought up to date if it does not reach beyond `offset`."""
        index = self._index(attempt_id)
        if not index.loaded or (index.seal is None and (offset is None or offset >= index.size)):
            async with index.lock:
                await self._discovery.catch_up(index)
        return index

    async def _retried(
        self, attempt_id: str, offset: int | None, read_from: Callable[[LogIndex], Awaitable[_T]]
    ) -> _T:
        """Read, again if the log was folded, or put into a chunk, meanwhile."""
        fault: Exception | None = None
        for _ in range(_READ_ATTEMPTS):
            index = await self._reaching(attempt_id, offset)
            try:
                return await read_from(index)
            except (FileNotFoundError, DamagedLog) as error:
                fault = error
            async with index.lock:
                index.forget()
                await self._discovery.load(index)
        if isinstance(fault, DamagedLog):
            raise fault
        raise DamagedLog(index.prefix, "objects are missing")
