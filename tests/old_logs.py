"""Logs as pushrod wrote them before version 0.3: chunks, a seal, and two objects in the end."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Sequence

import obstore
from obstore.store import ObjectStore

from coordinator.object_ports import LogDigest
from coordinator.objects import log_format
from coordinator.objects.log_format import RECORD, RECORDS_PER_BLOCK, TRAILER
from pipelines_schema.log_frames import Frame

STAGES = ("open", "sealed", "text put", "folded, chunks left", "folded")


async def write_old_log(
    store: ObjectStore, attempt_id: str, chunks: Sequence[Sequence[Frame]], stage: str
) -> None:
    """As far as `stage` of STAGES."""
    for key, body, stages in _objects(log_format.log_prefix(attempt_id), chunks):
        if stage in stages:
            await obstore.put_async(store, key, body)


def _objects(
    prefix: str, chunks: Sequence[Sequence[Frame]]
) -> Iterator[tuple[str, bytes, Sequence[str]]]:
    offset = 0
    for chunk in chunks:
        yield log_format.chunk_key(prefix, offset), log_format.encode_chunk(chunk), STAGES[:4]
        offset += sum(len(frame.data) for frame in chunk)
    frames = [frame for chunk in chunks for frame in chunk]
    text = b"".join(frame.data for frame in frames)
    digest = LogDigest(size=len(text), sha256=hashlib.sha256(text).hexdigest())
    yield log_format.chunk_key(prefix, len(text)), log_format.encode_seal(digest), STAGES[1:]
    yield log_format.text_key(prefix), text, STAGES[2:]
    yield log_format.frames_key(prefix), frames_object(frames), STAGES[3:]


def frames_object(frames: Sequence[Frame]) -> bytes:
    offsets, size = [], 0
    for number, frame in enumerate(frames):
        if number % RECORDS_PER_BLOCK == 0:
            offsets.append(size)
        size += len(frame.data)
    records = b"".join(
        RECORD.pack(frame.stream, frame.time_ms, len(frame.data)) for frame in frames
    )
    blocks = struct.pack(f">{len(offsets)}Q", *offsets)
    return records + blocks + TRAILER.pack(b"PRF1", len(offsets), size)
