"""Learns from store and database what the index of a log does not know.

Its callers hold the index's lock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise

import obstore
import structlog

from coordinator.object_ports import LogPiece, LogTails, PieceKind
from coordinator.objects import log_format
from coordinator.objects.folded_reading import FoldedReading, open_folded, open_two_objects
from coordinator.objects.log_format import HEADER, ChunkHeader, DamagedLog
from coordinator.objects.log_index import LogIndex
from coordinator.objects.ranges import Ranges
from coordinator.objects.stores import make_durable
from coordinator.objects.tail_frames import text_of

log = structlog.get_logger(__name__)


class LogDiscovery:
    def __init__(self, ranges: Ranges, tails: LogTails) -> None:
        self._ranges, self._tails = ranges, tails

    async def load(self, index: LogIndex) -> None:
        """Fill an empty index. Raises DamagedLog.

        The rows are read first: whatever a chunk takes over from them later is found in it.
        """
        if index.loaded:
            return
        index.forget()
        pieces = await self._tails.pieces(index.attempt_id)
        sealed = any(piece.kind is PieceKind.SEAL for piece in pieces)
        first_key = log_format.chunk_key(index.prefix, 0)
        if await self._take_folded(index, sealed=sealed):
            pass
        elif await self._ranges.object_bytes(first_key) is None:
            # None of its chunks is deleted before it is folded.
            if not await self._take_folded(index, sealed=sealed):
                index.attach(pieces)
        else:
            # A listing is no snapshot. Whatever the first one saw, all chunks before it were
            # stored when the second began.
            seen = await self.offsets(index.prefix)
            listed = await self.offsets(index.prefix)
            if not await self._take_folded(index, sealed=sealed):
                await self._take_chunks(index, {key: listed[key] for key in seen if key in listed})
                await self._check_last(index, pieces)
                index.attach(pieces)
        if sealed and index.seal is None:
            await self._take_seal(index)
        index.loaded = True

    async def catch_up(self, index: LogIndex) -> None:
        """Take notice of what another coordinator has added since. Raises DamagedLog."""
        if not index.loaded or index.fence is not None:
            index.loaded = False
            return await self.load(index)
        if index.folded is not None or index.seal is not None:
            return None
        pieces = list(await self._tails.pieces(index.attempt_id))
        if index.begun and index.newest is None and _is_all_of_it(pieces):
            index.attach(pieces)
        elif index.newest in pieces:
            later = pieces[pieces.index(index.newest) + 1 :]
            index.attach(later)
            if any(piece.kind is PieceKind.SEAL for piece in later):
                await self._take_seal(index)
        elif pieces or index.newest is not None or not index.begun:
            index.loaded = False
            await self.load(index)
        return None

    async def stands_in_store(self, index: LogIndex, offset: int) -> bool:
        """Whether the log goes on there, or is folded: then whoever added the first of its rows
        was behind."""
        keys = (
            log_format.chunk_key(index.prefix, offset),
            index.key,
            log_format.frames_key(index.prefix),
        )
        found = await asyncio.gather(*map(self._ranges.object_bytes, keys))
        return any(length is not None for length in found)

    async def offsets(self, prefix: str) -> dict[int, int]:
        """Offset → object length of all chunks and a seal."""
        found = {}
        for key, length in (await self._ranges.lengths(prefix)).items():
            offset = log_format.chunk_offset(key)
            if offset is not None:
                found[offset] = length
        return found

    async def _take_folded(self, index: LogIndex, *, sealed: bool) -> bool:
        folded = await self.folded(index, sealed=sealed)
        if folded is not None:
            index.folded, index.seal, index.size = folded, folded.digest, folded.digest.size
        return folded is not None

    async def folded(self, index: LogIndex, *, sealed: bool) -> FoldedReading | None:
        """The folded log, if there is one. Raises DamagedLog.

        Where the database has its seal still, its folding has not ended: a power cut may have left
        half of it, and all that it was made of is there.
        """
        if index.distrusted:
            return None
        length = await self._ranges.object_bytes(index.key)
        try:
            if length is not None:
                return await open_folded(self._ranges, index.key, length)
        except DamagedLog as damage:
            if not sealed:
                raise
            log.warning("torn_folded_log_ignored", key=index.key, fault=damage.fault)
        if sealed:
            return None  # the older form has no seal in the database
        length = await self._ranges.object_bytes(log_format.frames_key(index.prefix))
        if length is None:
            return None
        return await open_two_objects(self._ranges, index.prefix, length)

    async def _take_seal(self, index: LogIndex) -> None:
        body = await self._tails.seal(index.attempt_id)
        if body is not None:
            index.seal = log_format.decode_seal(index.prefix, body)

    async def _take_chunks(self, index: LogIndex, lengths: dict[int, int]) -> None:
        offsets = sorted(lengths)
        for offset, following in pairwise(offsets):
            frame_count = log_format.frame_count(lengths[offset], following - offset)
            if offset != index.chunks_end or frame_count is None:
                raise DamagedLog(
                    log_format.chunk_key(index.prefix, offset),
                    "of a wrong length, or a gap follows",
                )
            index.add_chunk(
                ChunkHeader(sealed=False, text_bytes=following - offset, frame_count=frame_count)
            )
        header = await self._next_header(index)
        if header is not None:
            await self._admit(index, header)

    async def _check_last(self, index: LogIndex, pieces: Sequence[LogPiece]) -> None:
        """Of what a fence stands for the database had acknowledged the beginning. A power cut may
        have left a chunk of the right length with something else in it."""
        fences = [one for one in pieces if one.kind is PieceKind.FENCE and index.starts]
        if not fences or fences[-1].end != index.starts[-1]:
            return
        fence, key = fences[-1], log_format.chunk_key(index.prefix, fences[-1].end)
        bodies = await self._tails.bodies(index.attempt_id, fence.end, fence.start)
        acknowledged = text_of(bodies)
        if len(acknowledged) != fence.start - fence.end:
            return  # another has settled it meanwhile
        try:
            stored = await self._ranges.read(key, HEADER.size, HEADER.size + len(acknowledged))
        except FileNotFoundError:
            return  # it was folded meanwhile, which the next look finds
        if stored != acknowledged:
            await self._remove_torn(key, "not what was acknowledged")
            index.chunks_end = index.size = index.starts.pop()
            index.frame_counts.pop()

    async def _next_header(self, index: LogIndex) -> ChunkHeader | None:
        """The header of what is stored at the end of the known chunks, None if that is the end.

        A power cut can leave there a chunk that is not whole. It was never acknowledged, so it is
        removed: its sender comes again.
        """
        key = log_format.chunk_key(index.prefix, index.chunks_end)
        length = await self._ranges.object_bytes(key)
        if length is None:
            return None
        try:
            header = log_format.decode_header(
                key, await self._ranges.read(key, 0, min(length, HEADER.size))
            )
            if log_format.chunk_bytes(header) != length:
                raise DamagedLog(key, "not as long as its header says")
        except FileNotFoundError:
            return None
        except DamagedLog as damage:
            await self._remove_torn(key, damage.fault)
            return None
        return header

    async def _remove_torn(self, key: str, fault: str) -> None:
        log.warning("torn_log_chunk_removed", key=key, fault=fault)
        with suppress(FileNotFoundError):
            await obstore.delete_async(self._ranges.store, key)

    async def _admit(self, index: LogIndex, header: ChunkHeader) -> None:
        key = log_format.chunk_key(index.prefix, index.chunks_end)
        # Its writer may have died between storing it and making it durable.
        await make_durable(self._ranges.store, key)
        if header.sealed:
            body = await self._ranges.read(key, 0, await self._ranges.object_bytes(key) or 0)
            index.seal = log_format.decode_seal(key, body)
        else:
            index.add_chunk(header)


def _is_all_of_it(pieces: Sequence[LogPiece]) -> bool:
    """Whether an open log has nothing in the store: before there is a chunk there is a fence, and
    with the next row what lies before that goes."""
    from_start = bool(pieces) and pieces[0].start == 0
    return from_start and all(piece.kind is PieceKind.TEXT for piece in pieces)
