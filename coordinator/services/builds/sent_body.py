"""A body of several parts with nothing between them, read as it comes."""

from __future__ import annotations

from collections.abc import AsyncIterator

from coordinator.domain.errors import Invalid, TooLarge


class SentBody:
    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces
        self._held = bytearray()

    async def line(self, max_bytes: int) -> bytes:
        """The first, without its end. Raises Invalid, TooLarge."""
        searched = 0
        while (end := self._held.find(b"\n", searched)) < 0:
            searched = len(self._held)
            if searched > max_bytes:
                raise TooLarge(f"the first line may have {max_bytes} bytes")
            await self._more()
        line = bytes(self._held[:end])
        del self._held[: end + 1]
        return line

    async def exactly(self, size: int) -> bytes:
        """Raises Invalid where the body ends before."""
        while len(self._held) < size:
            await self._more()
        part = bytes(self._held[:size])
        del self._held[:size]
        return part

    async def slices(self, size: int) -> AsyncIterator[bytes]:
        """So many bytes, as they come. Raises Invalid where the body ends before."""
        while size:
            if not self._held:
                await self._more()
            part = await self.exactly(min(size, len(self._held)))
            size -= len(part)
            yield part

    async def check_end(self) -> None:
        """Raises Invalid where more comes."""
        if self._held or await self._piece():
            raise Invalid("the body is longer than its first line says")

    async def _more(self) -> None:
        piece = await self._piece()
        if not piece:
            raise Invalid("the body is shorter than its first line says: nothing of it was kept")
        self._held += piece

    async def _piece(self) -> bytes:
        async for piece in self._pieces:
            return piece
        return b""
