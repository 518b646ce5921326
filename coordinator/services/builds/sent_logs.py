"""A log that comes as one sequence of frames."""

from __future__ import annotations

import hashlib

from coordinator.domain.errors import Invalid
from coordinator.object_ports import LogDigest, LogStore
from coordinator.services.builds.sent_body import SentBody
from pipelines_schema.log_frames import HEADER, MAX_CHUNK_BYTES, Frame, Stream

CHUNK_BYTES = 512 * 1024
CHUNK_FRAMES = 10_000
LATEST_MS = 1 << 47
"""In the year 6429."""


async def receive_log(
    store: LogStore | None, log_id: str, expected: LogDigest, body: SentBody
) -> None:
    """Store it; None: only read it. Raises Invalid."""
    digest, offset = hashlib.sha256(), 0
    frames: list[Frame] = []
    size = 0
    while offset + size < expected.size:
        frame = await _frame(body, expected.size - offset - size)
        digest.update(frame.data)
        frames.append(frame)
        size += len(frame.data)
        last = offset + size == expected.size
        if last or size >= CHUNK_BYTES or len(frames) >= CHUNK_FRAMES:
            if store is not None:
                await store.append(log_id, offset, frames)
            offset, size, frames = offset + size, 0, []
    if digest.hexdigest() != expected.sha256:
        raise Invalid("a log arrived with another sha256 than it was to have")


async def _frame(body: SentBody, most: int) -> Frame:
    """Raises Invalid."""
    stream, time_ms, length = HEADER.unpack(await body.exactly(HEADER.size))
    if stream not in (Stream.STDOUT, Stream.STDERR) or time_ms > LATEST_MS:
        raise Invalid("a log's frame has an unknown stream or time")
    if not 0 < length <= min(most, MAX_CHUNK_BYTES):
        raise Invalid(f"a log's frame has 1 to {MAX_CHUNK_BYTES} bytes, within the log's own size")
    return Frame(stream=Stream(stream), time_ms=time_ms, data=await body.exactly(length))
