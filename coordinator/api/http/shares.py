"""A bounded number of places, of which nobody ever has more than a share."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager


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


class Places:
    """How many places each kind of owner may have at a time; whoever finds none is told so."""

    def __init__(self, limits: Mapping[str, int]) -> None:
        self._limits = limits
        self._taken: Counter[tuple[str, str]] = Counter()

    def __len__(self) -> int:
        """How many owners have any."""
        return len(self._taken)

    @contextmanager
    def place(self, owners: Mapping[str, str]) -> Iterator[None]:
        """One, that counts for each of the owners, who are named by their kind.

        Raises NoPlace.
        """
        for kind, name in owners.items():
            if self._taken[kind, name] >= self._limits[kind]:
                self._forget()
                raise NoPlace(kind, self._limits[kind])
        self._taken.update(owners.items())
        try:
            yield
        finally:
            self._taken.subtract(owners.items())
            self._forget()

    def _forget(self) -> None:
        self._taken += Counter()  # drops those who have none


class NoPlace(Exception):
    """All of an owner's places are taken."""

    def __init__(self, kind: str, limit: int) -> None:
        super().__init__(kind, limit)
        self.kind, self.limit = kind, limit
