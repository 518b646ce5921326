"""Who runs at the same time on an engine whose containers can all reach each other."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


class Company:
    """While attempts with services run, all others are of the same isolation: what has to wait for
    that waits here. Who waits with services is not overtaken."""

    def __init__(self) -> None:
        self._changed = asyncio.Condition()
        self._running: Counter[str] = Counter()
        self._with_services: Counter[str] = Counter()
        self._line: list[object] = []
        """Those with services that wait, the first at its head."""

    @asynccontextmanager
    async def of(
        self, isolation: str, *, has_services: bool, say: Callable[[str], None]
    ) -> AsyncIterator[None]:
        ticket = object()
        async with self._changed:
            if not self._fits(isolation, has_services, ticket):
                say(
                    "waits until no other project's steps run: this engine can't keep services "
                    "from them\n"
                )
            if has_services:
                self._line.append(ticket)
            try:
                await self._changed.wait_for(lambda: self._fits(isolation, has_services, ticket))
            finally:
                if has_services:
                    self._line.remove(ticket)
                    self._changed.notify_all()
            self._running[isolation] += 1
            self._with_services[isolation] += has_services
        try:
            yield
        finally:
            await asyncio.shield(self._leave(isolation, has_services))

    def _fits(self, isolation: str, has_services: bool, ticket: object) -> bool:
        others = any(n for name, n in self._running.items() if name != isolation)
        guarded = any(n for name, n in self._with_services.items() if name != isolation)
        if has_services:
            is_next = not self._line or self._line[0] is ticket
            return not others and is_next
        waits_for_us = bool(self._line) and not self._running[isolation]
        return not guarded and not waits_for_us

    async def _leave(self, isolation: str, has_services: bool) -> None:
        async with self._changed:
            self._running[isolation] -= 1
            self._with_services[isolation] -= has_services
            self._changed.notify_all()
