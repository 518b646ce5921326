"""Between a blob's arrival and the row that refers to it nobody may delete it.

A blob that is stored already is not stored again when it arrives once more: were it deleted just
then, because the last that referred to it went, the new row would refer to nothing.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from coordinator.object_ports import Arrived

BlobKey = tuple[str, str]
"""Account id and sha256."""


@dataclass(slots=True)
class BlobClaims:
    _claimed: Counter[BlobKey] = field(default_factory=Counter)
    _deleting: dict[BlobKey, asyncio.Event] = field(default_factory=dict)

    @asynccontextmanager
    async def arriving(self, account_id: str) -> AsyncIterator[Arrived]:
        """To be told the digests that arrive, which stay claimed until the block ends."""
        mine: list[BlobKey] = []

        async def arrived(sha256: str) -> None:
            key = account_id, sha256
            while key in self._deleting:
                await self._deleting[key].wait()
            self._claimed[key] += 1
            mine.append(key)

        try:
            yield arrived
        finally:
            for key in mine:
                self._claimed[key] -= 1
                if not self._claimed[key]:
                    del self._claimed[key]

    @contextmanager
    def deleting(self, key: BlobKey) -> Iterator[bool]:
        """False where it is claimed, and may not be deleted; whoever brings it waits meanwhile."""
        if key in self._claimed or key in self._deleting:
            yield False
            return
        done = self._deleting[key] = asyncio.Event()
        try:
            yield True
        finally:
            del self._deleting[key]
            done.set()
