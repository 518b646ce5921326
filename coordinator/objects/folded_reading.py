"""A folded log, read by ranges: as it is written today, and as it was before."""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from coordinator.object_ports import LogDigest, LogLine, LogRange
from coordinator.objects import folded_log, log_format
from coordinator.objects.folded_log import Blocks, FoldedIndex
from coordinator.objects.log_format import DamagedLog
from coordinator.objects.ranges import Ranges

_END_BYTES = 16 * 1024
"""Read at the end of an object at once: more than the index of most has."""
_INLINE_BYTES = 2 * folded_log.BLOCK_BYTES
"""So much text is unpacked in less time than a visit to a thread takes to be worth it."""


class FoldedReading(Protocol):
    @property
    def digest(self) -> LogDigest: ...

    @property
    def stored_bytes(self) -> int:
        """What it takes in the store."""
        ...

    async def text(self, start: int, end: int) -> bytes:
        """Raises FileNotFoundError, DamagedLog."""
        ...

    async def frames(self, start: int, end: int) -> Sequence[LogLine]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldedLog:
    """One object, see folded_log."""

    ranges: Ranges
    key: str
    index: FoldedIndex
    digest: LogDigest
    stored_bytes: int

    async def text(self, start: int, end: int) -> bytes:
        blocks = await self._blocks(start, end)
        if len(blocks.numbers) * folded_log.BLOCK_BYTES <= _INLINE_BYTES:
            return blocks.text(start, end)
        return await asyncio.to_thread(blocks.text, start, end)

    async def frames(self, start: int, end: int) -> Sequence[LogLine]:
        blocks = await self._blocks(start, end)
        if len(blocks.numbers) * folded_log.BLOCK_BYTES <= _INLINE_BYTES:
            return blocks.frames(start, end)
        return await asyncio.to_thread(blocks.frames, start, end)

    async def lines(self, first: int, count: int, max_bytes: int) -> LogRange:
        """See LogStore.lines: by one range of the object."""
        index = self.index
        if first > index.line_ends:
            return LogRange(offset=self.digest.size, data=b"")
        begin = index.block_of_line_end(first) if first else 0
        start = index.offsets[begin]
        limit = min(start + folded_log.BLOCK_BYTES + max_bytes, self.digest.size)
        if first + count <= index.line_ends:
            limit = min(limit, index.offsets[index.block_of_line_end(first + count) + 1])
        text = await self.text(start, limit)
        at = _behind_line_end(text, 0, first - index.lines[begin])
        end = min(_behind_line_end(text, at, count), at + max_bytes)
        return LogRange(offset=start + at, data=text[at:end])

    async def _blocks(self, start: int, end: int) -> Blocks:
        numbers = self.index.blocks(start, end)
        places = self.index.places
        body = (
            await self.ranges.read(self.key, places[numbers.start], places[numbers.stop])
            if numbers
            else b""
        )
        return Blocks(key=self.key, index=self.index, numbers=numbers, body=body)


def _behind_line_end(text: bytes, at: int, count: int) -> int:
    """The offset behind the `count`th line end from `at` on; the end where there are fewer."""
    for _ in range(count):
        found = text.find(b"\n", at)
        if found < 0:
            return len(text)
        at = found + 1
    return at


async def open_folded(ranges: Ranges, key: str, length: int) -> FoldedLog:
    """Raises FileNotFoundError, DamagedLog."""
    begin = max(0, length - _END_BYTES)
    end = await ranges.read(key, begin, length)
    trailer = folded_log.decode_trailer(key, end[-folded_log.TRAILER.size :])
    if trailer.frame_bytes > length:
        raise DamagedLog(key, "shorter than its index")
    if trailer.frame_bytes > len(end):
        end = await ranges.read(key, length - trailer.frame_bytes, begin) + end
    packed = end[len(end) - trailer.frame_bytes : len(end) - folded_log.TRAILER.size]
    return FoldedLog(
        ranges=ranges,
        key=key,
        index=folded_log.decode_index(key, packed, trailer),
        digest=trailer.digest,
        stored_bytes=length,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoObjects:
    """`text` and `frames`, see log_format: how logs were folded before version 0.3."""

    ranges: Ranges
    prefix: str
    block_offsets: Sequence[int]
    """The text offset of each block of RECORDS_PER_BLOCK records, ascending."""
    record_bytes: int
    digest: LogDigest
    stored_bytes: int

    async def text(self, start: int, end: int) -> bytes:
        return await self.ranges.read(log_format.text_key(self.prefix), start, end)

    async def frames(self, start: int, end: int) -> Sequence[LogLine]:
        if start >= end:
            return []
        block_bytes = log_format.RECORDS_PER_BLOCK * log_format.RECORD.size
        first = bisect_right(self.block_offsets, start) - 1
        after = bisect_left(self.block_offsets, end)
        records = await self.ranges.read(
            log_format.frames_key(self.prefix),
            first * block_bytes,
            min(after * block_bytes, self.record_bytes),
        )
        text = await self.text(start, end)
        return list(
            log_format.cut_lines(
                records,
                text,
                records_at=self.block_offsets[first],
                text_at=start,
                start=start,
                end=end,
            )
        )


async def open_two_objects(ranges: Ranges, prefix: str, length: int) -> TwoObjects:
    """`length`: of `frames`. Raises FileNotFoundError, DamagedLog."""
    key = log_format.frames_key(prefix)
    trailer_at = length - log_format.TRAILER.size
    if trailer_at < 0:
        raise DamagedLog(key, "shorter than its trailer")
    trailer = log_format.decode_trailer(key, await ranges.read(key, trailer_at, length))
    offsets_at = trailer_at - 8 * trailer.block_count
    offsets = await ranges.read(key, offsets_at, trailer_at)
    seal_key = log_format.chunk_key(prefix, trailer.text_bytes)
    seal = await ranges.read(seal_key, 0, await ranges.object_bytes(seal_key) or 0)
    return TwoObjects(
        ranges=ranges,
        prefix=prefix,
        block_offsets=log_format.decode_block_offsets(offsets),
        record_bytes=offsets_at,
        digest=log_format.decode_seal(seal_key, seal),
        stored_bytes=length + trailer.text_bytes + len(seal),
    )
