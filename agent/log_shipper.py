"""A step's log on its way to the coordinator: first to a spool on disk, then at offsets.

The script never waits for the network and memory stays bounded: `LogSpool` takes what the engine
gives and `LogShipper` sends from the disk, from whatever byte the coordinator has acknowledged.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from agent.appended_file import sync_folder
from agent.coordinator_client import CoordinatorClient
from agent.coordinator_errors import (
    CallRefusedError,
    CoordinatorUnavailableError,
    CredentialRefusedError,
    WrongOffsetError,
)
from agent.journal_entries import LogMark
from agent.retries import keep_trying
from pipelines_schema import log_frames
from pipelines_schema.contract import StepSpec
from pipelines_schema.log_frames import HEADER, MAX_CHUNK_BYTES, Frame, Stream

logger = logging.getLogger(__name__)

READ_BYTES = 1 << 20
SHORT_LOG_BYTES = 64 * 1024
"""Framed; a log up to this is kept in the journal's record of its script's end."""
MERGE_MS = 10
"""Output of one stream that came so close together is sent as one frame."""
SMALL_BATCH_BYTES = 64 * 1024
SMALL_BATCH_INTERVAL_SECONDS = 0.05
"""A script that trickles is sent at most so often; its first bytes go at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolContent:
    """`framed_bytes` of whole frames in the file, and size and digest of their text."""

    framed_bytes: int
    text_bytes: int
    sha256: hashlib._Hash


class LogSpool:
    """The log of one attempt on disk. An OutputSink; use within one event loop."""

    def __init__(self, path: Path) -> None:
        """A log that has nothing yet; its file is made with its first bytes."""
        self.path = path
        self._file: int | None = None
        self.framed_bytes = 0
        self.text_bytes = 0
        self._sha256 = hashlib.sha256()
        self.closed = asyncio.Event()
        self.failed = asyncio.Event()
        """Set when the disk takes no more: what the script wrote from then on is lost."""
        self.failure: OSError | None = None
        self.on_failure: Callable[[OSError], None] | None = None
        """Called then, once."""
        self._grown = asyncio.Event()

    @classmethod
    def recovered(cls, path: Path) -> LogSpool:
        """What an earlier process wrote, without a frame that a kill left torn. Blocking. Raises
        OSError."""
        spool = cls(path)
        if path.exists():
            spool._take(_recover(path))
        return spool

    def _take(self, content: SpoolContent) -> None:
        self._file = self._opened()
        os.ftruncate(self._file, content.framed_bytes)
        self.framed_bytes = content.framed_bytes
        self.text_bytes = content.text_bytes
        self._sha256 = content.sha256

    def _opened(self) -> int:
        return os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()

    @property
    def mark(self) -> LogMark:
        return LogMark(text_bytes=self.text_bytes, sha256=self.sha256)

    def write(self, stream: Stream, data: bytes) -> None:
        if not data or self.failure is not None or self.closed.is_set():
            return
        framed = log_frames.encode(
            [Frame(stream=stream, time_ms=time.time_ns() // 1_000_000, data=data)]
        )
        try:
            self._append(framed)
        except OSError as error:
            # Only whole frames count; making a file shorter needs no room.
            if self._file is not None:
                os.ftruncate(self._file, self.framed_bytes)
            self.failure = error
            self.failed.set()
            if self.on_failure is not None:
                self.on_failure(error)
            return
        self.framed_bytes += len(framed)
        self.text_bytes += len(data)
        self._sha256.update(data)
        self._grown.set()

    def _append(self, framed: bytes) -> None:
        if self._file is None:
            self._file = self._opened()
        view = memoryview(framed)
        while view:
            view = view[os.write(self._file, view) :]

    def short_content(self) -> bytes | None:
        """The whole file, if it is short. Blocking. Raises OSError."""
        if self.framed_bytes > SHORT_LOG_BYTES:
            return None
        return b"" if self._file is None else os.pread(self._file, SHORT_LOG_BYTES, 0)

    def make_last(self) -> None:
        """Bring all of it to the disk. Blocking. Raises OSError."""
        if self._file is not None:
            os.fsync(self._file)
            sync_folder(self.path.parent)

    def close(self) -> None:
        """Nothing more will be written: the shipper ends when all has been sent."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
        self.closed.set()
        self._grown.set()

    async def wait_beyond(self, offset: int) -> bool:
        """Wait for text beyond `offset`; False if the log is complete without."""
        while self.text_bytes <= offset:
            if self.closed.is_set():
                return False
            self._grown.clear()
            await self._grown.wait()
        return True


def _recover(path: Path) -> SpoolContent:
    framed_bytes = text_bytes = 0
    sha256 = hashlib.sha256()
    with open(path, "rb") as file:
        for data in _whole_frames(file):
            framed_bytes += HEADER.size + len(data)
            text_bytes += len(data)
            sha256.update(data)
    return SpoolContent(framed_bytes=framed_bytes, text_bytes=text_bytes, sha256=sha256)


def _whole_frames(file: BinaryIO) -> Iterator[bytes]:
    """The data of each frame, up to the first that is torn or none at all."""
    while len(header := file.read(HEADER.size)) == HEADER.size:
        stream, _, length = HEADER.unpack(header)
        if stream not in (Stream.STDOUT, Stream.STDERR):
            return
        data = file.read(length)
        if len(data) < length:
            return
        yield data


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    frames: bytes
    """Encoded, for one PATCH."""
    text_bytes: int


class SpoolReader:
    """Reads batches of a growing spool from any byte of its text. Blocking."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._frame_at = 0
        """Where in the file the frame begins that holds…"""
        self._text_at = 0
        """…this byte of the text."""

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def batch(self, offset: int, framed_bytes: int, max_bytes: int) -> Batch:
        """At most `max_bytes` of text from `offset`, of the spool's first `framed_bytes`."""
        if offset < self._text_at:
            self._frame_at = self._text_at = 0
        merged: list[Frame] = []
        pieces: list[bytes] = []
        size = 0
        for frame in self._frames_from(offset, framed_bytes):
            data = frame.data[: max_bytes - size]
            if merged and _belong_together(merged[-1], frame):
                pieces.append(data)
            else:
                _finish(merged, pieces)
                merged.append(frame)
                pieces = [data]
            size += len(data)
            if size == max_bytes:
                break
        _finish(merged, pieces)
        return Batch(frames=log_frames.encode(merged), text_bytes=size)

    def _frames_from(self, offset: int, framed_bytes: int) -> Iterator[Frame]:
        """Frames from a byte of the text; the place reached is kept for the next batch."""
        if self._file is None:
            self._file = open(self._path, "rb")  # noqa: SIM115 - held for the shipper's life
        file = self._file
        file.seek(self._frame_at)
        frame_at, text_at = self._frame_at, self._text_at
        while frame_at < framed_bytes:
            stream, time_ms, length = HEADER.unpack(file.read(HEADER.size))
            if text_at + length <= offset:
                file.seek(length, os.SEEK_CUR)
            else:
                if text_at <= offset:
                    self._frame_at, self._text_at = frame_at, text_at
                skipped = max(0, offset - text_at)
                data = file.read(length)[skipped:]
                yield Frame(stream=Stream(stream), time_ms=time_ms, data=data)
            frame_at += HEADER.size + length
            text_at += length


def _belong_together(first: Frame, then: Frame) -> bool:
    return first.stream == then.stream and 0 <= then.time_ms - first.time_ms <= MERGE_MS


def _finish(merged: list[Frame], pieces: list[bytes]) -> None:
    """Give the last merged frame all its data."""
    if len(pieces) == 1 and merged:
        last = merged[-1]
        merged[-1] = Frame(stream=last.stream, time_ms=last.time_ms, data=pieces[0])
    elif merged:
        last = merged[-1]
        merged[-1] = Frame(stream=last.stream, time_ms=last.time_ms, data=b"".join(pieces))


class LogShipper:
    """Sends a spool until it is closed and wholly acknowledged."""

    def __init__(
        self, *, client: CoordinatorClient, spec: StepSpec, spool: LogSpool, resumed: bool = False
    ) -> None:
        self._client = client
        self._spec = spec
        self._spool = spool
        self._offset = 0
        # After a restart the acknowledged offset is unknown: a small chunk asks for it.
        self._asking = resumed
        self.torn = False
        """The spool is not what was written, so the coordinator may know more of it."""
        self.refusal: str | None = None
        """Why the coordinator will never take this log, if it said so."""

    def resume_at(self, offset: int) -> None:
        self._offset = offset if self.torn else min(offset, self._spool.text_bytes)

    async def ship(self) -> None:
        """Return when the log is closed and acknowledged, or refused. Raises StaleLeaseError."""
        reader = SpoolReader(self._spool.path)
        try:
            while self.refusal is None and await self._spool.wait_beyond(self._offset):
                started = time.monotonic()
                batch = await self._next_batch(reader)
                await self._send(batch)
                if batch.text_bytes < SMALL_BATCH_BYTES:
                    await self._gather_more(started)
        finally:
            reader.close()

    async def _next_batch(self, reader: SpoolReader) -> Batch:
        limit = SMALL_BATCH_BYTES if self._asking else MAX_CHUNK_BYTES
        waiting = self._spool.text_bytes - self._offset
        read = (self._offset, self._spool.framed_bytes, limit)
        if waiting < SMALL_BATCH_BYTES and not self._asking:
            return reader.batch(*read)
        return await asyncio.to_thread(reader.batch, *read)

    async def _gather_more(self, started: float) -> None:
        """Let a trickling script write some more before the next call."""
        pause = started + SMALL_BATCH_INTERVAL_SECONDS - time.monotonic()
        if pause > 0 and not self._spool.closed.is_set():
            try:
                async with asyncio.timeout(pause):
                    await self._spool.closed.wait()
            except TimeoutError:
                return

    async def _send(self, batch: Batch) -> None:
        """Send until the coordinator has answered with its offset, for as long as it takes."""
        try:
            offset = await keep_trying(
                lambda: self._acknowledged(batch),
                lambda error: logger.info("log of step %s waits: %s", self._spec.step_id, error),
                on=(CoordinatorUnavailableError, WrongOffsetError),
            )
        except (CallRefusedError, CredentialRefusedError) as error:
            self.refusal = str(error)
        else:
            self._advance(offset)

    async def _acknowledged(self, batch: Batch) -> int:
        """Raises WrongOffsetError where it names the very offset that was sent."""
        try:
            return await self._client.send_log(self._spec, self._offset, batch.frames)
        except WrongOffsetError as error:
            if error.offset == self._offset:
                raise
            return error.offset

    def _advance(self, offset: int) -> None:
        self._asking = False
        if offset > self._spool.text_bytes and not self.torn:
            self.refusal = (
                f"the coordinator has {offset} bytes of a log that has {self._spool.text_bytes}"
            )
            return
        self._offset = offset
