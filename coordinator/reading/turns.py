"""Accounts take turns: who has much to read, or slow text, delays no other by more than one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """At most `at_once` turns at a time, and one of each account."""

    def __init__(self, at_once: int) -> None:
        self._free = at_once
        self._busy: set[str] = set()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        """By account; the one whose last turn is longest ago is in front."""

    @asynccontextmanager
    async def turn(self, account: str) -> AsyncIterator[None]:
        await self._begin(account)
        try:
            yield
        finally:
            self._end(account)

    async def _begin(self, account: str) -> None:
        begun = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(account, deque()).append(begun)
        self._hand_out()
        try:
            await begun
        except asyncio.CancelledError:
            if not begun.cancelled():  # it was given in the same moment
                self._end(account)
            else:
                self._hand_out()
            raise

    def _end(self, account: str) -> None:
        self._free += 1
        self._busy.discard(account)
        if account in self._waiting:
            self._waiting[account] = self._waiting.pop(account)  # behind the others
        self._hand_out()

    def _hand_out(self) -> None:
        while self._free and (begun := self._next()) is not None:
            self._free -= 1
            begun.set_result(None)

    def _next(self) -> asyncio.Future[None] | None:
        for account in [one for one in self._waiting if one not in self._busy]:
            waiting = self._waiting[account]
            begun = _first_not_cancelled(waiting)
            if not waiting:
                del self._waiting[account]
            if begun is not None:
                self._busy.add(account)
                return begun
        return None


def _first_not_cancelled(waiting: deque[asyncio.Future[None]]) -> asyncio.Future[None] | None:
    while waiting:
        begun = waiting.popleft()
        if not begun.cancelled():
            return begun
    return None
