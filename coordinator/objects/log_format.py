"""How a log lies in objects. Pure: bytes in, values out.

An open log is a row of *chunks*, `<offset>` each:  MAGIC, length of the text, number of frames;
the text; a record per frame. Behind the last one comes its tail, in the database. A log that has
ended is folded into one object, `log.zst` (see folded_log); where that exists, whatever else is
left means nothing.

Before version 0.3 there was no tail: a log ended with a *seal* (the same key as the next chunk
would have, so that the two exclude each other), and was folded into `text` (the bare text) and
`frames`: the records of all frames, the text offset of each block of records, the counts. Such logs
are read, and not written any more.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from coordinator.object_ports import LogDigest, LogLine
from pipelines_schema.log_frames import Frame, Stream

RECORD = struct.Struct(">BQI")
"""A frame's stream, arrival time (ms since the epoch) and length."""
HEADER = struct.Struct(">4sQI")
TRAILER = struct.Struct(">4sQQ")
"""Magic, number of blocks, length of the text."""
RECORDS_PER_BLOCK = 1024

_OFFSET_DIGITS = 16
_CHUNK_MAGIC = b"PRC1"
_SEAL_MAGIC = b"PRS1"
_FRAMES_MAGIC = b"PRF1"
_ATTEMPT_ID = re.compile(r"[A-Za-z0-9-]{1,100}")


class DamagedLog(Exception):
    """A stored log is not as it was written: `key` says which object."""

    def __init__(self, key: str, fault: str) -> None:
        super().__init__(f"{key}: {fault}")
        self.key = key
        self.fault = fault


class InvalidAttemptId(ValueError):
    """An attempt id that is not letters, digits and `-`: no key is made from it."""


def log_prefix(attempt_id: str) -> str:
    """Raises InvalidAttemptId."""
    if not _ATTEMPT_ID.fullmatch(attempt_id):
        raise InvalidAttemptId(attempt_id)
    return f"logs/{attempt_id}"


def chunk_key(prefix: str, offset: int) -> str:
    return f"{prefix}/{offset:0{_OFFSET_DIGITS}d}"


def text_key(prefix: str) -> str:
    return f"{prefix}/text"


def frames_key(prefix: str) -> str:
    return f"{prefix}/frames"


def folded_key(prefix: str) -> str:
    return f"{prefix}/log.zst"


def chunk_offset(key: str) -> int | None:
    """The offset that a chunk's or seal's key says; None for another key."""
    name = key.rpartition("/")[2]
    return int(name) if len(name) == _OFFSET_DIGITS and name.isdecimal() else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkHeader:
    sealed: bool
    """The log ends here: this is no chunk."""
    text_bytes: int
    frame_count: int


def encode_chunk(frames: Sequence[Frame]) -> bytes:
    text = b"".join(frame.data for frame in frames)
    records = b"".join(
        RECORD.pack(frame.stream, frame.time_ms, len(frame.data)) for frame in frames
    )
    return HEADER.pack(_CHUNK_MAGIC, len(text), len(frames)) + text + records


def encode_seal(digest: LogDigest) -> bytes:
    body = json.dumps({"size": digest.size, "sha256": digest.sha256}).encode()
    return HEADER.pack(_SEAL_MAGIC, len(body), 0) + body


def decode_seal(key: str, body: bytes) -> LogDigest:
    """Raises DamagedLog."""
    if not decode_header(key, body[: HEADER.size]).sealed:
        raise DamagedLog(key, "a chunk where the end of the log should be")
    value = json.loads(body[HEADER.size :])
    return LogDigest(size=value["size"], sha256=value["sha256"])


def decode_header(key: str, header: bytes) -> ChunkHeader:
    """Raises DamagedLog."""
    if len(header) < HEADER.size:
        raise DamagedLog(key, "shorter than its header")
    magic, text_bytes, frame_count = HEADER.unpack(header)
    if magic not in (_CHUNK_MAGIC, _SEAL_MAGIC):
        raise DamagedLog(key, f"begins with {magic!r}")
    return ChunkHeader(sealed=magic == _SEAL_MAGIC, text_bytes=text_bytes, frame_count=frame_count)


def chunk_bytes(header: ChunkHeader) -> int:
    """How long the whole object is."""
    return HEADER.size + header.text_bytes + header.frame_count * RECORD.size


def frame_count(object_bytes: int, text_bytes: int) -> int | None:
    """How many frames a chunk of that size has; None if its size can't be right."""
    count, rest = divmod(object_bytes - HEADER.size - text_bytes, RECORD.size)
    return count if count > 0 and rest == 0 else None


def cut_lines(
    records: bytes, text: bytes, *, records_at: int, text_at: int, start: int, end: int
) -> Iterator[LogLine]:
    """The frames between text offsets `start` and `end`, the first and the last cut to fit.

    `records_at` is the text offset of the first record, `text_at` that of the first byte of
    `text`, which holds at least `start` to `end`.
    """
    position = records_at
    for stream, time_ms, length in RECORD.iter_unpack(records):
        first, last = max(position, start), min(position + length, end)
        position += length
        if first < last:
            data = text[first - text_at : last - text_at]
            yield LogLine(
                offset=first, frame=Frame(stream=Stream(stream), time_ms=time_ms, data=data)
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class FramesTrailer:
    block_count: int
    text_bytes: int


def decode_trailer(key: str, trailer: bytes) -> FramesTrailer:
    """Raises DamagedLog."""
    if len(trailer) != TRAILER.size or not trailer.startswith(_FRAMES_MAGIC):
        raise DamagedLog(key, "has no trailer")
    _, block_count, text_bytes = TRAILER.unpack(trailer)
    return FramesTrailer(block_count=block_count, text_bytes=text_bytes)


def decode_block_offsets(body: bytes) -> Sequence[int]:
    return struct.unpack(f">{len(body) // 8}Q", body)
