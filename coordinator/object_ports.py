"""What the services need of an object store: logs and blobs. The adapters live in objects/."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pipelines_schema.log_frames import Frame

if TYPE_CHECKING:
    from coordinator.domain.pushes.stored_repository import StoredObject


@dataclass(frozen=True, slots=True, kw_only=True)
class LogDigest:
    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """One run of a log's text, as `frames` gives it back."""

    offset: int
    frame: Frame


class OffsetMismatch(Exception):
    """The log's acknowledged size is not the offset given: resume at `expected`."""

    def __init__(self, expected: int) -> None:
        super().__init__(f"the log is acknowledged up to byte {expected}")
        self.expected = expected


class LogClosed(OffsetMismatch):
    """The log was closed: nothing can be appended to it any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRange:
    """A range of a log's text."""

    offset: int
    data: bytes


class PieceKind(StrEnum):
    TEXT = "text"
    """The text from `start` to `end`."""
    FENCE = "fence"
    """What comes at `start` is decided by the chunk at `end`, where the tail begins that goes into
    it: nothing is added here before that chunk is there."""
    SEAL = "seal"
    """The log ends at `start`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPiece:
    """A row of a log's tail."""

    start: int
    kind: PieceKind
    end: int
    body_bytes: int = 0


class LogTails(Protocol):
    """What the database holds of logs: the text behind the last chunk. Whoever wants to say what
    comes at an offset adds the piece that starts there; of two only one can."""

    async def pieces(self, attempt_id: str) -> Sequence[LogPiece]:
        """In the order of their offsets."""
        ...

    async def bodies(self, attempt_id: str, start: int, end: int) -> Sequence[tuple[int, bytes]]:
        """Of the pieces of text that reach into that range, in order: start and body."""
        ...

    async def seal(self, attempt_id: str) -> bytes | None: ...

    async def add(
        self,
        attempt_id: str,
        piece: LogPiece,
        body: bytes = b"",
        *,
        first: bool = False,
        settled: LogPiece | None = None,
        merged: LogPiece | None = None,
    ) -> bool:
        """Durably; False, and nothing has changed, where something else is there.

        Text has to end where the piece starts, or, for `first`, there has to be nothing at all of
        this log, or, where `settled` is given, that fence: then it goes with all before the piece.
        What lies in `merged` becomes one piece.
        """
        ...

    async def remove(self, attempt_id: str, start: int) -> None:
        """The piece that starts there."""
        ...

    async def drop_before(
        self, attempt_id: str, offset: int, settled: LogPiece | None = None
    ) -> None:
        """All pieces that start before that, and the fence `settled`."""
        ...

    async def forget(self, attempt_id: str) -> None:
        """All pieces of a log."""
        ...


class LogStore(Protocol):
    """Logs: the newest lines in the database, those before as immutable chunks in an object store,
    and the whole in one object once it has ended.

    An append is acknowledged only once it is durable, and never overwrites: two writers of one
    offset can't both succeed. Offsets and sizes are in bytes of text.
    """

    def begin(self, attempt_id: str) -> None:
        """This attempt has begun just now: there is nothing of its log yet."""
        ...

    def is_untouched(self, attempt_id: str) -> bool:
        """Whether nothing is stored of the log as far as is known without looking. Then only the
        database can have more, by another coordinator."""
        ...

    async def append(self, attempt_id: str, offset: int, frames: Sequence[Frame]) -> int:
        """Store them durably; return the new size. Raises OffsetMismatch, LogClosed."""
        ...

    async def size(self, attempt_id: str, *, at_least: int = 0) -> int:
        """Bytes of text. Of an attempt that has ended with `at_least` so many: where fewer are
        known, another coordinator has folded them, or they were deleted."""
        ...

    async def read(self, attempt_id: str, offset: int, max_bytes: int) -> bytes:
        """At most `max_bytes` of text from `offset`; empty at or beyond the end."""
        ...

    async def frames(self, attempt_id: str, offset: int, max_bytes: int) -> Sequence[LogLine]:
        """The same text with stream and arrival time, cut at frame borders only at the edges."""
        ...

    async def lines(self, attempt_id: str, first: int, count: int, max_bytes: int) -> LogRange:
        """`count` lines from the one with that number (the first is 0), at most `max_bytes`; empty
        beyond the end. Of a folded log it costs no more than what is returned."""
        ...

    async def digest(self, attempt_id: str, *, sent_bytes: int | None = None) -> LogDigest:
        """Size and sha256 of the whole text stored so far.

        Nobody looks for more where its sender says that it sent `sent_bytes`, and they are known.
        """
        ...

    async def close(self, attempt_id: str) -> int | None:
        """Fold a finished log into one object, whose length is returned; its text does not change.

        Whoever calls this then deletes what the database has of it, which says till then that its
        folding has not ended. None where there is nothing to fold any more: it was deleted.
        """
        ...

    async def flush(self, attempt_id: str) -> None:
        """Bring what the database has of a log into the store, without closing it."""
        ...

    async def delete(self, attempt_id: str) -> None:
        """Delete the log of an attempt that has ended; nothing happens if there is none."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    sha256: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedBlob(Blob):
    account_id: str


Arrived = Callable[[str], Awaitable[None]]
"""Told a blob's sha256 once it is known, before anything is stored."""


class BlobTooLarge(Exception):
    """More bytes than the limit came in; nothing was stored."""


class BlobDiffers(Exception):
    """What came in has another digest than was announced; nothing was stored."""


class BlobStore(Protocol):
    """Content-addressed blobs, per account."""

    async def put(
        self,
        account_id: str,
        chunks: AsyncIterator[bytes],
        *,
        max_bytes: int,
        sha256: str | None = None,
        arrived: Arrived | None = None,
    ) -> Blob:
        """Store a stream and return its digest; atomic. Raises BlobTooLarge, BlobDiffers."""
        ...

    async def put_all(
        self, account_id: str, contents: Mapping[str, bytes], *, arrived: Arrived
    ) -> None:
        """Store small blobs by their digests, which the caller has checked; each is atomic."""
        ...

    async def get_small(self, account_id: str, sha256: str) -> bytes:
        """All of it. Raises KeyError where there is none."""
        ...

    def get(
        self, account_id: str, sha256: str, *, start: int = 0, end: int | None = None
    ) -> AsyncIterator[bytes]:
        """Stream bytes `start` to `end` (exclusive). Raises KeyError where there is none."""
        ...

    async def address(self, account_id: str, sha256: str, *, disposition: str) -> str | None:
        """Where anybody can GET the blob for a while, as the attachment that `disposition` (a value
        of Content-Disposition) names; None: it is to be had here alone. It is a credential."""
        ...

    async def exists(self, account_id: str, sha256: str) -> bool: ...

    async def delete(self, account_id: str, sha256: str) -> None:
        """Nothing happens if there is none."""
        ...

    def listed(self, before: datetime) -> AsyncIterator[Sequence[ListedBlob]]:
        """Of all accounts, page by page, what was stored before that, by the store's own time. What
        comes or goes meanwhile may be among them."""
        ...


class ObjectsUnusable(Exception):
    """The object store will not do before somebody changes something."""

    def __init__(self, location: str, words: str) -> None:
        super().__init__(f"the objects at {location}: {words}")
        self.words = words
        """What is wrong, and what to do; for everybody."""


class ObjectsCheck(Protocol):
    async def look(self) -> None:
        """Whether the store answers and does what logs need. Raises ObjectsUnusable, and others
        for what may pass."""
        ...


class PackDamaged(Exception):
    """What the store holds is not what was put there."""


class PackStore(Protocol):
    """Packs of repositories. No key is ever used twice, so what is deleted stays so."""

    async def put(self, project_id: str, pack: Path, index: Path) -> StoredObject:
        """Both files as one object, durably."""
        ...

    async def get(self, stored: StoredObject, pack: Path, index: Path) -> None:
        """Into these files, which are on the disk then. Raises KeyError, PackDamaged."""
        ...

    async def delete(self, keys: Sequence[str]) -> None:
        """Those that are there."""
        ...

    def listed(self, project_id: str | None) -> AsyncIterator[tuple[str, str, datetime]]:
        """Project, key and time of the objects of one, or of all."""
        ...
