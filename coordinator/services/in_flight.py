"""Work that several ask for at once and that may take longer than a request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from coordinator.domain.errors import NotYet

T = TypeVar("T")

WAIT_SECONDS = 20.0
"""Proxies give up a request that says nothing for a minute."""
KEEP_SECONDS = 300.0
KEEP_FAILURE_SECONDS = 15.0
"""Long enough for all who wait to hear it; somebody may mend the cause."""


@dataclass(slots=True)
class InFlight(Generic[T]):
    """One task for each key; its result is kept for a while for those who ask later."""

    _tasks: dict[Hashable, asyncio.Task[T]] = field(default_factory=dict)

    async def result(self, key: Hashable, make: Callable[[], Coroutine[None, None, T]]) -> T:
        """What the task gives or raises. Raises NotYet where that takes longer."""
        task = self._tasks.get(key)
        if task is None:
            task = self._tasks[key] = asyncio.create_task(make(), name=f"in flight: {key}")
            task.add_done_callback(lambda done: self._forget_later(key, done))
        await asyncio.wait({task}, timeout=WAIT_SECONDS)
        if not task.done():
            raise NotYet("this is still being fetched: ask again in a second")
        return task.result()

    def _forget_later(self, key: Hashable, task: asyncio.Task[T]) -> None:
        failed = task.cancelled() or task.exception() is not None
        seconds = KEEP_FAILURE_SECONDS if failed else KEEP_SECONDS
        asyncio.get_running_loop().call_later(seconds, self._forget, key, task)

    def _forget(self, key: Hashable, task: asyncio.Task[T]) -> None:
        if self._tasks.get(key) is task:
            del self._tasks[key]

    async def close(self) -> None:
        """End what is under way."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
