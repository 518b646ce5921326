"""Who waits for what within this process: held polls, live pages and followed logs."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class News:
    """Topics that change. News is published only of what is committed, and only says *that*."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Event]] = defaultdict(set)
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
    def listen(self, *topics: str, event: asyncio.Event | None = None) -> Iterator[asyncio.Event]:
        """An event, or the given one, that is set when one of the topics moves; look at the thing
        after this."""
        event = event or asyncio.Event()
        for topic in topics:
            self._waiting[topic].add(event)
        if self._closing:
            event.set()
        try:
            yield event
        finally:
            for topic in topics:
                self._waiting[topic].discard(event)
                if not self._waiting[topic]:
                    del self._waiting[topic]


async def wait_for(event: asyncio.Event, seconds: float) -> bool:
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
