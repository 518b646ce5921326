"""A bounded number of places, of which nobody ever has more than a share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class FairShares:
    """`total` places, at most `each` of them for one owner; whoever comes late waits."""

    def __init__(self, total: int, each: int) -> None:
        self._all, self._each = asyncio.Semaphore(total), each
        self._owners: dict[str, tuple[asyncio.Semaphore, int]] = {}
        """With how many have one of its places, or wait for one."""

    @asynccontextmanager
    async def share(self, owner: str) -> AsyncIterator[None]:
        # The owner's own turn comes first: those who wait for it keep no place from others.
        own, users = self._owners.get(owner) or (asyncio.Semaphore(self._each), 0)
        self._owners[owner] = own, users + 1
        try:
            async with own, self._all:
                yield
        finally:
            own, users = self._owners.pop(owner)
            if users > 1:
                self._owners[owner] = own, users - 1
