"""What is known of one log: where its chunks begin, what its tail has, whether it is folded.

Store and database are the truth and this is a memory of them, which may be behind when another
coordinator writes. It is never ahead: a size is told only once what lies before it is durable.
"""

from __future__ import annotations

import asyncio
import hashlib
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from coordinator.object_ports import LogDigest, LogPiece, PieceKind
from coordinator.objects import log_format
from coordinator.objects.folded_reading import FoldedReading
from coordinator.objects.log_format import ChunkHeader, DamagedLog


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A piece of one chunk's text: bytes `first` to `last` of it."""

    key: str
    chunk_start: int
    """The text offset at which the chunk begins."""
    text_bytes: int
    frame_count: int
    first: int
    last: int


@dataclass(slots=True, kw_only=True)
class LogIndex:
    attempt_id: str
    prefix: str
    loaded: bool = False
    begun: bool = False
    """This process saw its attempt begin: only the database can have what is not known here."""
    size: int = 0
    starts: array[int] = field(default_factory=lambda: array("Q"))
    frame_counts: array[int] = field(default_factory=lambda: array("L"))
    chunks_end: int = 0
    """Of the text; what comes then is the tail."""
    tail: list[LogPiece] = field(default_factory=list)
    """Its pieces of text."""
    newest: LogPiece | None = None
    """The last row that the database had."""
    fence: LogPiece | None = None
    """What comes at its start is to be decided."""
    settled: LogPiece | None = None
    """A fence whose chunk is there: it and what lies before it are to go."""
    has_remnants: bool = False
    """There are rows of text that a chunk has, and no fence: what a restored database has."""
    seal: LogDigest | None = None
    """Set once the log is closed."""
    folded: FoldedReading | None = None
    distrusted: bool = False
    """There is a folded log that isn't what was sealed: what it was made of is what counts."""
    hasher: hashlib._Hash = field(default_factory=hashlib.sha256)
    hashed_bytes: int = 0
    """How much of the text `hasher` has seen."""
    deleted: bool = False
    """It is not to be folded, which may have been about to begin."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by whoever changes the log or this index."""

    @property
    def key(self) -> str:
        """Of the folded log."""
        return log_format.folded_key(self.prefix)

    @property
    def may_have_objects(self) -> bool:
        """Besides the folded log; surely not where all of it was in the database."""
        all_in_rows = self.newest is not None and not self.starts and self.fence is None
        return self.folded is not None or not all_in_rows

    @property
    def tail_body_bytes(self) -> int:
        return sum(piece.body_bytes for piece in self.tail)

    def add_chunk(self, header: ChunkHeader) -> None:
        """The next one; what the tail had of it is in it."""
        self.starts.append(self.chunks_end)
        self.frame_counts.append(header.frame_count)
        self.chunks_end += header.text_bytes
        self.size = self.chunks_end
        self.tail.clear()

    def add_text(self, piece: LogPiece) -> None:
        self.tail.append(piece)
        self.newest = piece
        self.size = piece.end

    def settle(self, fence: LogPiece) -> None:
        """Its chunk is there."""
        self.fence, self.settled = None, fence

    def attach(self, pieces: Sequence[LogPiece]) -> None:
        """Rows of the database, in order, behind what is known. Raises DamagedLog."""
        covered = False
        for piece in pieces:
            self.newest = piece
            if piece.kind is PieceKind.FENCE and piece.end < self.chunks_end:
                self.settled = piece
            elif piece.start < self.chunks_end:
                covered = True
            elif piece.start != self.size:
                fault = f"its tail goes on at {piece.start} instead of {self.size}"
                raise DamagedLog(self.prefix, fault)
            elif piece.kind is PieceKind.TEXT:
                self.add_text(piece)
            elif piece.kind is PieceKind.FENCE:
                self.fence = piece
        self.has_remnants = self.has_remnants or (covered and self.settled is None)

    def forget(self) -> None:
        """Return to knowing nothing, but what was hashed: text never changes."""
        self.loaded, self.begun, self.size, self.chunks_end = False, False, 0, 0
        self.newest = self.fence = self.settled = self.seal = self.folded = None
        self.has_remnants = False
        self.tail.clear()
        del self.starts[:], self.frame_counts[:]

    def spans(self, start: int, end: int) -> Iterator[Span]:
        """The pieces of chunks that hold the text from `start` to `end`, in order."""
        end = min(end, self.chunks_end)
        index = bisect_right(self.starts, start) - 1
        while start < end:
            chunk_start = self.starts[index]
            following = self.starts[index + 1] if index + 1 < len(self.starts) else self.chunks_end
            stop = min(following, end)
            yield Span(
                key=log_format.chunk_key(self.prefix, chunk_start),
                chunk_start=chunk_start,
                text_bytes=following - chunk_start,
                frame_count=self.frame_counts[index],
                first=start - chunk_start,
                last=stop - chunk_start,
            )
            start, index = stop, index + 1
