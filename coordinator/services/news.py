"""Who waits for what within this process: held polls, live pages and followed logs."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class Bell:
    """An event that one task waits for, in a third of an Event's memory: polls are held by the
    thousand."""

    __slots__ = ("_is_set", "_waiting")

    def __init__(self) -> None:
        self._is_set = False
        self._waiting: asyncio.Future[None] | None = None

    def set(self) -> None:
        self._is_set = True
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def wait(self) -> None:
        if self._is_set:
            return
        self._waiting = asyncio.get_running_loop().create_future()
        await self._waiting


class News:
    """Topics that change. News is published only of what is committed, and only says *that*."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Event | Bell]] = defaultdict(set)
        self._closing = False

    def publish(self, topic: str) -> None:
        for event in self._waiting.get(topic, ()):
            event.set()

    def stir(self) -> None:
        """Something may have moved that was not heard of."""
        for events in self._waiting.values():
            for event in events:
                event.set()

    def close(self) -> None:
        """Wake everybody, now and from now on: the process is about to stop."""
        self._closing = True
        self.stir()

    @property
    def closing(self) -> bool:
        return self._closing

    @contextmanager
    def listen(self, *topics: str) -> Iterator[asyncio.Event]:
        """An event that is set when one of the topics moves; look at the thing after this."""
        event = asyncio.Event()
        with self.ring(event, *topics):
            yield event

    @contextmanager
    def ring(self, event: asyncio.Event | Bell, *topics: str) -> Iterator[None]:
        """It is set when one of the topics moves."""
        for topic in topics:
            self._waiting[topic].add(event)
        if self._closing:
            event.set()
        try:
            yield
        finally:
            for topic in topics:
                self._waiting[topic].discard(event)
                if not self._waiting[topic]:
                    del self._waiting[topic]


async def wait_for(event: asyncio.Event | Bell, seconds: float) -> bool:
    """False when the time ran out."""
    try:
        async with asyncio.timeout(max(seconds, 0)):
            await event.wait()
    except TimeoutError:
        return False
    return True


def build_topic(build_id: str) -> str:
    return f"build {build_id}"


def log_topic(attempt_id: str) -> str:
    return f"log {attempt_id}"
