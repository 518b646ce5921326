"""How long we wait for a client that is slow, or gone without a word."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

SLOWEST_BYTES_A_SECOND = 256
"""Of a client that is alive; a modem is thirty times as fast."""


@dataclass(slots=True, kw_only=True)
class Pace:
    """Whether a client goes on as fast as one that is alive, by the time that it let us wait."""

    grace_seconds: float
    slowest: int = SLOWEST_BYTES_A_SECOND
    """Bytes a second."""
    waited: float = 0.0
    moved_bytes: int = 0

    @asynccontextmanager
    async def waiting(self) -> AsyncIterator[None]:
        """For the client's next step. Raises TimeoutError where nothing comes of it."""
        now = asyncio.get_running_loop().time
        began = now()
        async with asyncio.timeout(self.grace_seconds):
            yield
        self.waited += now() - began
        too_little = self.moved_bytes < self.waited * self.slowest
        if self.waited > self.grace_seconds and too_little:
            raise TimeoutError
