"""The framing of a log chunk: runs of bytes, each with its stream and its arrival time.

A log's *text* is the bytes of its frames, one after the other: offsets, lengths and sha256 always
speak of the text, never of the framing. A chunk of `CONTENT_TYPE` is a sequence of frames: stream
(1 byte), arrival time (8 bytes, milliseconds since the epoch), length (4 bytes), all big endian,
then the bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum

CONTENT_TYPE = "application/vnd.pushrod.log"
MAX_CHUNK_BYTES = 1024 * 1024
"""The most text that one PATCH may carry."""
FOR_LOGS_ALONE = "pushrod-logs"
"""Among the words of the header Connection: its sender sends nothing else by this connection, so
that a coordinator which takes logs, and leaves the rest to another, need not end it."""
HEADER = struct.Struct(">BQI")


class Stream(IntEnum):
    STDOUT = 1
    STDERR = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    stream: Stream
    time_ms: int
    data: bytes


class MalformedFrames(ValueError):
    """The bytes are not a sequence of whole frames."""


def encode(frames: Iterable[Frame]) -> bytes:
    return b"".join(
        HEADER.pack(frame.stream, frame.time_ms, len(frame.data)) + frame.data for frame in frames
    )


def decode(body: bytes) -> Iterator[Frame]:
    """Yield the frames of a chunk. Raises MalformedFrames."""
    position = 0
    while position < len(body):
        if position + HEADER.size > len(body):
            raise MalformedFrames(f"a frame header is cut off at byte {position}")
        stream, time_ms, length = HEADER.unpack_from(body, position)
        if stream not in (Stream.STDOUT, Stream.STDERR):
            raise MalformedFrames(f"byte {position}: stream {stream} is neither 1 nor 2")
        start = position + HEADER.size
        position = start + length
        if position > len(body):
            raise MalformedFrames(f"the frame at byte {start} is cut off")
        yield Frame(stream=Stream(stream), time_ms=time_ms, data=body[start:position])
