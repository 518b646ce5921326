"""What the services need of an object store: logs and blobs. The adapters live in objects/."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from pipelines_schema.log_frames import Frame


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


class LogStore(Protocol):
    """Logs, as immutable chunks in an object store; the stored chunks are the truth.

    An append is acknowledged only once its chunk is stored, and never overwrites: two writers of
    one offset can't both succeed. Offsets and sizes are in bytes of text.
    """

    def begin(self, attempt_id: str) -> None:
        """The attempt is new: nothing of its log is stored yet."""
        ...

    async def append(self, attempt_id: str, offset: int, frames: Sequence[Frame]) -> int:
        """Store one chunk; return the new size. Raises OffsetMismatch."""
        ...

    async def size(self, attempt_id: str) -> int: ...

    async def read(self, attempt_id: str, offset: int, max_bytes: int) -> bytes:
        """At most `max_bytes` of text from `offset`; empty at or beyond the end."""
        ...

    async def frames(self, attempt_id: str, offset: int, max_bytes: int) -> Sequence[LogLine]:
        """The same text with stream and arrival time, cut at frame borders only at the edges."""
        ...

    async def digest(self, attempt_id: str, *, sent_bytes: int | None = None) -> LogDigest:
        """Size and sha256 of the whole text stored so far.

        Nobody looks for more where its sender says that it sent `sent_bytes`, and they are known.
        """
        ...

    async def close(self, attempt_id: str) -> None:
        """Fold the chunks of a finished log into few objects; its text does not change."""
        ...

    async def delete(self, attempt_id: str) -> None:
        """Delete the log of an attempt that has ended; nothing happens if there is none."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    sha256: str
    size: int


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

    async def exists(self, account_id: str, sha256: str) -> bool: ...

    async def delete(self, account_id: str, sha256: str) -> None:
        """Nothing happens if there is none."""
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
