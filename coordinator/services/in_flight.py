"""Work that several ask for at once and that may take longer than a request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from coordinator.domain.errors import NotYet

T = TypeVar("T")
Key = tuple[str, Hashable]
"""Whose it is, and what."""

WAIT_SECONDS = 20.0
"""Proxies give up a request that says nothing for a minute."""
MAX_RUNNING = 8
"""Of one owner, so that one with many waits and the others don't."""
KEEP_SECONDS = 300.0
KEEP_FAILURE_SECONDS = 15.0
"""Long enough for all who wait to hear it; somebody may mend the cause."""


@dataclass(slots=True)
class InFlight(Generic[T]):
    """One task for each key; its result is kept for a while for those who ask later."""

    _tasks: dict[Key, asyncio.Task[T]] = field(default_factory=dict)

    async def result(
        self, owner: str, key: Hashable, make: Callable[[], Coroutine[None, None, T]]
    ) -> T:
        """What the task gives or raises. Raises NotYet where that takes longer, or where the
        owner has MAX_RUNNING others under way."""
        own_key: Key = (owner, key)
        task = self._tasks.get(own_key)
        if task is None:
            if self._running(owner) >= MAX_RUNNING:
                raise NotYet("others are still being fetched for this project: ask again")
            task = self._tasks[own_key] = asyncio.create_task(make(), name=f"in flight: {owner}")
            task.add_done_callback(lambda done: self._forget_later(own_key, done))
        await asyncio.wait({task}, timeout=WAIT_SECONDS)
        if not task.done():
            raise NotYet("this is still being fetched: ask again in a second")
        return task.result()

    def _running(self, owner: str) -> int:
        return sum(key[0] == owner and not task.done() for key, task in self._tasks.items())

    def _forget_later(self, key: Key, task: asyncio.Task[T]) -> None:
        failed = task.cancelled() or task.exception() is not None
        seconds = KEEP_FAILURE_SECONDS if failed else KEEP_SECONDS
        asyncio.get_running_loop().call_later(seconds, self._forget, key, task)

    def _forget(self, key: Key, task: asyncio.Task[T]) -> None:
        if self._tasks.get(key) is task:
            del self._tasks[key]

    async def close(self) -> None:
        """End what is under way."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
