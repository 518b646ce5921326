"""How the leader learns that another coordinator has stored lines of a log.

Only *that* there are more is told, and how many bytes. Who follows a log looks again now and then
without being told.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import structlog

from coordinator.peers.words import hear_notices
from coordinator.storage.notices import NoticeSender, NoticesLost
from coordinator.storage.postgresql import PostgresPlace

log = structlog.get_logger()

CHANNEL = "pushrod_logs"
TOLD_AT_ONCE = 100
"""Logs in one notice, which takes 7,999 bytes: the name of each has some 45."""
PAUSE_SECONDS = 0.05
"""Between two notices: as often as an agent sends what a script trickles."""


class LogNewsSender:
    """Tells what this coordinator has stored. `close` it."""

    def __init__(self, place: PostgresPlace) -> None:
        self._sender = NoticeSender(place, CHANNEL)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="log news")
        self._stored: Counter[str] = Counter()
        self._some = asyncio.Event()
        self._sending = asyncio.create_task(self._send_forever(), name="log news")

    def stored(self, attempt_id: str, size: int) -> None:
        """So many bytes more."""
        self._stored[attempt_id] += size
        self._some.set()

    async def close(self) -> None:
        self._sending.cancel()
        await asyncio.gather(self._sending, return_exceptions=True)
        await asyncio.to_thread(self._thread.shutdown)
        self._sender.close()

    async def _send_forever(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._some.wait()
            self._some.clear()
            stored, self._stored = list(self._stored.items()), Counter()
            texts = [
                json.dumps(dict(stored[first : first + TOLD_AT_ONCE]))
                for first in range(0, len(stored), TOLD_AT_ONCE)
            ]
            try:
                await loop.run_in_executor(self._thread, self._sender.send, *texts)
            except NoticesLost as error:
                log.info("the leader is not told of lines of logs", problem=str(error))
            await asyncio.sleep(PAUSE_SECONDS)


async def hear_log_news(
    place: PostgresPlace, stored: Callable[[str, int], None], missed: Callable[[], None]
) -> None:
    """Until cancelled: `stored` is called with the attempt of each log that has grown and by how
    many bytes, `missed` whenever some may not have been heard."""

    def hear(text: str | None) -> None:
        if text is None:
            missed()
            return
        for attempt_id, size in json.loads(text).items():
            stored(attempt_id, size)

    await hear_notices(place, CHANNEL, hear)
