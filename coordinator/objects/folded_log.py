"""How a folded log lies in its object, which `zstd -d` reads as the log's text. Pure.

The text is cut into *blocks*. A block is a zstd frame of its own, and a skippable frame (RFC 8878,
3.1.2) with the compressed records of its frames; so a range of bytes or lines is one range of the
object. A last skippable frame has the index: where each block begins in the object and in the text,
and how many lines are before it; and at its very end the trailer, with the text's digest.
"""

from __future__ import annotations

import hashlib
import struct
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from coordinator.object_ports import LogDigest, LogLine
from coordinator.objects.log_format import RECORD, DamagedLog
from coordinator.objects.zstd import ZstdDecompressor, ZstdError, compress
from pipelines_schema.log_frames import Frame, Stream

BLOCK_BYTES = 256 * 1024
"""Of text: what is read and unpacked for a single byte."""
TRAILER = struct.Struct(">IIQQ32s4s")
"""Length of the compressed index, number of blocks, lengths of text and of records, the text's
sha256, magic."""
MAX_INDEX_BYTES = 64 * 1024 * 1024

_LEVEL = 3
_MAGIC = b"PRZ1"
_SKIPPABLE = struct.Struct("<II")
_RECORDS_FRAME, _INDEX_FRAME = 0x184D2A5A, 0x184D2A5B
_CONTINUED = 0x80
"""A record of the rest of a frame that began in the block before."""
_ENTRY = 3
"""Numbers per block: its place in the object and in the text, and the lines before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trailer:
    index_bytes: int
    block_count: int
    digest: LogDigest

    @property
    def frame_bytes(self) -> int:
        """Of the whole skippable frame at the end of the object, less its header."""
        return self.index_bytes + TRAILER.size


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldedIndex:
    """Each array has one more entry than there are blocks: the end."""

    places: array[int]
    """In the object."""
    offsets: array[int]
    """In the text."""
    lines: array[int]
    """How many line ends come before the block."""

    def blocks(self, start: int, end: int) -> range:
        """Those that hold the text from `start` to `end`."""
        if start >= end:
            return range(0)
        return range(bisect_right(self.offsets, start) - 1, bisect_left(self.offsets, end))

    def block_of_line_end(self, number: int) -> int:
        """The block that has that line end (the first is 1), which has to be there."""
        return bisect_left(self.lines, number) - 1

    @property
    def line_ends(self) -> int:
        return self.lines[-1]


class FoldedWriter:
    """Makes a folded log of its frames, in bounded memory. Blocking."""

    def __init__(self) -> None:
        self._text = bytearray()
        self._records: list[tuple[int, int, int]] = []
        self._place = self._offset = self._lines = self._record_bytes = 0
        self._entries = array("Q")
        self._hasher = hashlib.sha256()

    @property
    def digest(self) -> LogDigest:
        """Of all text that was added."""
        size = self._offset + len(self._text)
        return LogDigest(size=size, sha256=self._hasher.hexdigest())

    def add(self, frames: Iterable[Frame]) -> bytes:
        """What is to be written for them now."""
        blocks = [block for frame in frames for block in self._add(frame)]
        return b"".join(blocks)

    def _add(self, frame: Frame) -> Iterator[bytes]:
        self._hasher.update(frame.data)
        at, mark = 0, int(frame.stream)
        while at < len(frame.data):
            part = frame.data[at : at + BLOCK_BYTES - len(self._text)]
            self._text += part
            self._records.append((mark, frame.time_ms, len(part)))
            at, mark = at + len(part), frame.stream | _CONTINUED
            if len(self._text) == BLOCK_BYTES:
                yield self._block()

    def _block(self) -> bytes:
        records = b"".join(RECORD.pack(*record) for record in self._records)
        packed = compress(records, _LEVEL)
        block = (
            compress(bytes(self._text), _LEVEL)
            + _SKIPPABLE.pack(_RECORDS_FRAME, len(packed))
            + packed
        )
        self._entries.extend((self._place, self._offset, self._lines))
        self._place += len(block)
        self._offset += len(self._text)
        self._lines += self._text.count(b"\n")
        self._record_bytes += len(records)
        self._text.clear()
        self._records.clear()
        return block

    def end(self) -> bytes:
        """What comes last."""
        block = self._block() if self._text else b""
        count = len(self._entries) // _ENTRY
        self._entries.extend((self._place, self._offset, self._lines))
        packed = compress(struct.pack(f">{len(self._entries)}Q", *self._entries), _LEVEL)
        trailer = TRAILER.pack(
            len(packed), count, self._offset, self._record_bytes, self._hasher.digest(), _MAGIC
        )
        header = _SKIPPABLE.pack(_INDEX_FRAME, len(packed) + len(trailer))
        return block + header + packed + trailer


def decode_trailer(key: str, trailer: bytes) -> Trailer:
    """Raises DamagedLog."""
    if len(trailer) != TRAILER.size or not trailer.endswith(_MAGIC):
        raise DamagedLog(key, "has no trailer")
    index_bytes, block_count, text_bytes, _, sha256, _ = TRAILER.unpack(trailer)
    if block_count * _ENTRY * 8 > MAX_INDEX_BYTES:
        raise DamagedLog(key, f"an index of {block_count} blocks")
    return Trailer(
        index_bytes=index_bytes,
        block_count=block_count,
        digest=LogDigest(size=text_bytes, sha256=sha256.hex()),
    )


def decode_index(key: str, packed: bytes, trailer: Trailer) -> FoldedIndex:
    """Raises DamagedLog."""
    count = (trailer.block_count + 1) * _ENTRY
    body, _ = _unpacked(key, packed, count * 8)
    if len(body) != count * 8:
        raise DamagedLog(key, "its index is cut off")
    numbers = array("Q", struct.unpack(f">{count}Q", body))
    index = FoldedIndex(
        places=numbers[0::_ENTRY], offsets=numbers[1::_ENTRY], lines=numbers[2::_ENTRY]
    )
    if index.offsets[-1] != trailer.digest.size:
        raise DamagedLog(key, "its index is that of another text")
    return index


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocks:
    """Some blocks in a row, as they were read."""

    key: str
    index: FoldedIndex
    numbers: range
    body: bytes

    def text(self, start: int, end: int) -> bytes:
        """The text between two offsets, which these blocks hold. Raises DamagedLog."""
        texts = b"".join(text for text, _ in self._parts())
        at = self.index.offsets[self.numbers.start] if self.numbers else 0
        return texts[start - at : end - at]

    def frames(self, start: int, end: int) -> Sequence[LogLine]:
        """The same with stream and time. Raises DamagedLog."""
        found: list[LogLine] = []
        pieces: list[bytes] = []  # of the last one found
        for number, (text, packed) in zip(self.numbers, self._parts(), strict=True):
            position = first = self.index.offsets[number]
            for mark, time_ms, length in RECORD.iter_unpack(self._records(packed, len(text))):
                begin, stop = max(position, start), min(position + length, end)
                position += length
                if begin >= stop:
                    continue
                data = text[begin - first : stop - first]
                if mark & _CONTINUED and found:
                    pieces.append(data)
                    continue
                _complete(found, pieces)
                frame = Frame(stream=Stream(mark & ~_CONTINUED), time_ms=time_ms, data=data)
                found.append(LogLine(offset=begin, frame=frame))
                pieces = [data]
        _complete(found, pieces)
        return found

    def _records(self, packed: bytes, text_bytes: int) -> bytes:
        records, rest = _unpacked(self.key, packed, text_bytes * RECORD.size)
        if rest or len(records) % RECORD.size:
            raise DamagedLog(self.key, "its records are cut off")
        return records

    def _parts(self) -> Iterator[tuple[bytes, bytes]]:
        """Each block's text, and its compressed records."""
        if not self.numbers:
            return
        origin = self.index.places[self.numbers.start]
        for number in self.numbers:
            block = self.body[
                self.index.places[number] - origin : self.index.places[number + 1] - origin
            ]
            length = self.index.offsets[number + 1] - self.index.offsets[number]
            text, rest = _unpacked(self.key, block, length)
            if len(text) != length or len(rest) < _SKIPPABLE.size:
                raise DamagedLog(self.key, f"block {number} is not as the index says")
            magic, size = _SKIPPABLE.unpack_from(rest)
            if magic != _RECORDS_FRAME or size != len(rest) - _SKIPPABLE.size:
                raise DamagedLog(self.key, f"block {number} has no records")
            yield text, rest[_SKIPPABLE.size :]


def _complete(found: list[LogLine], pieces: list[bytes]) -> None:
    """Give the last one all of its data."""
    if len(pieces) > 1:
        last = found[-1]
        frame = Frame(stream=last.frame.stream, time_ms=last.frame.time_ms, data=b"".join(pieces))
        found[-1] = LogLine(offset=last.offset, frame=frame)


def _unpacked(key: str, packed: bytes, max_bytes: int) -> tuple[bytes, bytes]:
    """One zstd frame of at most that much content, and what follows it. Raises DamagedLog."""
    decompressor = ZstdDecompressor()
    try:
        # One byte more than allowed is asked for, so that a frame which has more is seen.
        body = decompressor.decompress(packed, max_length=max_bytes + 1)
        if not decompressor.eof and len(body) <= max_bytes:
            body += decompressor.decompress(b"", max_length=max_bytes + 1 - len(body))
    except (ZstdError, EOFError) as error:
        raise DamagedLog(key, f"not what zstd can read ({error})") from error
    if not decompressor.eof or len(body) > max_bytes:
        raise DamagedLog(key, "of another length than its index says")
    return body, decompressor.unused_data
