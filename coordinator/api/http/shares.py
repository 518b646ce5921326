"""A bounded number of places, of which nobody ever has more than a share."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass


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

    def take(self, owners: Mapping[str, str]) -> Place:
        """One, that counts for each of the owners, who are named by their kind, until it is left.

        Raises NoPlace.
        """
        for kind, name in owners.items():
            if self._taken[kind, name] >= self._limits[kind]:
                raise NoPlace(kind, self._limits[kind])
        self._taken.update(owners.items())
        return Place(self, owners)

    def leave(self, owners: Mapping[str, str]) -> None:
        for owner in owners.items():
            self._taken[owner] -= 1
            if not self._taken[owner]:
                del self._taken[owner]


@dataclass(frozen=True, slots=True)
class Place:
    """A context manager that leaves it."""

    places: Places
    owners: Mapping[str, str]

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None:
        self.places.leave(self.owners)


class NoPlace(Exception):
    """All of an owner's places are taken."""

    def __init__(self, kind: str, limit: int) -> None:
        super().__init__(kind, limit)
        self.kind, self.limit = kind, limit
