"""Taking the outputs that the engine delivers, as they stream in."""

from __future__ import annotations

import asyncio
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

from agent.engines.buildkit.pb import control_pb2
from agent.engines.buildkit.session_calls import Call
from agent.engines.buildkit.unpack import ChunkReader, UnsafeStreamError, unpack

PIECE_BYTES = 256 * 1024


class OutputTaker:
    """Unpacks one delivery into `folder`, which it makes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stands_for: Mapping[str, int] = {}
        """As `unpack` says it."""
        self.failure: Exception | None = None
        """Why what was delivered could not be unpacked."""
        self._unpacked = asyncio.Event()
        self._unpacked.set()

    async def settled(self) -> None:
        """Wait until what began to arrive is unpacked."""
        await self._unpacked.wait()

    async def serve(self, stream: Call) -> None:
        """Answer the engine's DiffCopy call, whose messages are the pieces of a tar file."""
        self._unpacked.clear()
        self.folder.mkdir(exist_ok=True)
        chunks = ChunkReader()
        unpacking = asyncio.create_task(asyncio.to_thread(self._unpack, chunks))
        try:
            while (message := await stream.read()) is not None:
                if data := control_pb2.BytesMessage.FromString(message).data:
                    await _put(chunks, data)
        finally:
            await _put(chunks, b"")
            await unpacking
            self._unpacked.set()

    def _unpack(self, chunks: ChunkReader) -> None:
        try:
            self.stands_for = unpack(io.BufferedReader(chunks, PIECE_BYTES), self.folder)
        except (UnsafeStreamError, tarfile.TarError, OSError) as error:
            self.failure = error
        finally:
            chunks.drain()


async def _put(chunks: ChunkReader, piece: bytes) -> None:
    if not chunks.offer(piece):
        await asyncio.to_thread(chunks.put, piece)
