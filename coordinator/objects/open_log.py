"""Reading a log that is not folded: its chunks in the store, its tail in the database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from coordinator.object_ports import LogLine, LogTails
from coordinator.objects import log_format
from coordinator.objects.log_index import LogIndex, Span
from coordinator.objects.ranges import Ranges
from coordinator.objects.tail_frames import cut_tail
from pipelines_schema.log_frames import Frame

_T = TypeVar("_T")

_PARALLEL_READS = 16
_PIECE_BYTES = 1024 * 1024
"""Of text that is in memory at a time while a log is folded; a single chunk may be longer."""


@dataclass(frozen=True, slots=True)
class OpenLogReading:
    """What an index says is looked at once, at the beginning. Where the log has moved on meanwhile,
    FileNotFoundError is raised."""

    ranges: Ranges
    tails: LogTails

    async def text(self, index: LogIndex, start: int, end: int) -> bytes:
        spans, tail_from = list(index.spans(start, end)), max(start, index.chunks_end)
        parts = await _in_order(self._span_text, spans)
        if tail_from < end:
            tail = await self._tail(index.attempt_id, tail_from, end)
            parts += [line.frame.data for line in tail]
        return b"".join(parts)

    async def frames(self, index: LogIndex, start: int, end: int) -> Sequence[LogLine]:
        spans, tail_from = list(index.spans(start, end)), max(start, index.chunks_end)
        parts = await _in_order(self._span_lines, spans)
        if tail_from < end:
            parts.append(await self._tail(index.attempt_id, tail_from, end))
        return [line for part in parts for line in part]

    async def pieces(self, index: LogIndex) -> AsyncIterator[Sequence[Frame]]:
        """All frames, in bounded portions."""
        portion: list[Span] = []
        for span in list(index.spans(0, index.size)):
            portion.append(span)
            if sum(one.text_bytes for one in portion) >= _PIECE_BYTES:
                yield await self._portion(portion)
                portion = []
        if portion:
            yield await self._portion(portion)
        if index.chunks_end < index.size:
            tail = await self._tail(index.attempt_id, index.chunks_end, index.size)
            yield [line.frame for line in tail]

    async def _portion(self, spans: Sequence[Span]) -> Sequence[Frame]:
        parts = await _in_order(self._span_lines, spans)
        return [line.frame for part in parts for line in part]

    async def _tail(self, attempt_id: str, start: int, end: int) -> Sequence[LogLine]:
        if start >= end:
            return []
        return cut_tail(await self.tails.bodies(attempt_id, start, end), start, end)

    async def _span_text(self, span: Span) -> bytes:
        at = log_format.HEADER.size
        return await self.ranges.read(span.key, at + span.first, at + span.last)

    async def _span_lines(self, span: Span) -> Sequence[LogLine]:
        records_at = log_format.HEADER.size + span.text_bytes
        records_end = records_at + span.frame_count * log_format.RECORD.size
        text_at = log_format.HEADER.size + span.first
        if span.last == span.text_bytes:  # then what is wanted is one range
            both = await self.ranges.read(span.key, text_at, records_end)
            text, records = both[: records_at - text_at], both[records_at - text_at :]
        else:
            text = await self._span_text(span)
            records = await self.ranges.read(span.key, records_at, records_end)
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


async def _in_order(read: Callable[[Span], Awaitable[_T]], spans: Iterable[Span]) -> list[_T]:
    """Read all spans, a few at a time, and return what was read in their order."""
    waiting, results = list(spans), []
    for position in range(0, len(waiting), _PARALLEL_READS):
        batch = waiting[position : position + _PARALLEL_READS]
        results += await asyncio.gather(*(read(span) for span in batch))
    return results
