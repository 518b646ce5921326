"""What coordinators tell each other, by notices of their database, and how they hear it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import structlog

from coordinator.services.others import Hear, Word
from coordinator.storage.notices import LOOK_SECONDS, NoticeSender, NoticesLost, heard
from coordinator.storage.postgresql import PostgresPlace

log = structlog.get_logger()

CHANNEL = "pushrod_words"
MOST_BYTES = 7_900
"""Of one notice, which may have 7,999."""
PAUSE_SECONDS = 0.02
"""Between two notices: what is said meanwhile goes with the next."""
WORDS_MAX = 10_000
"""That wait to be said, while the database does not answer; of more only the first are kept, and
the others look."""


class Words:
    """Those of this coordinator, as `Others`. `close` it."""

    def __init__(self, place: PostgresPlace, home: str, *, leads: bool) -> None:
        self.home, self.leads = home, leads
        self._sender = NoticeSender(place, CHANNEL)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="words")
        self._said: Counter[str] = Counter()
        self._some = asyncio.Event()
        self._sending = asyncio.create_task(self._send_forever(), name="words")

    def tell(self, word: Word, *said: Any, times: int = 1) -> None:
        if len(self._said) < WORDS_MAX:
            self._said[json.dumps([word.value, *said], separators=(",", ":"))] += times
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
            said, self._said = self._said, Counter()
            texts = list(_texts(self.home, said))
            try:
                await loop.run_in_executor(self._thread, self._sender.send, *texts)
            except NoticesLost as error:
                log.info("other coordinators are not told", problem=str(error))
            await asyncio.sleep(PAUSE_SECONDS)


def _texts(home: str, said: Mapping[str, int]) -> Iterator[str]:
    """As few as they fit in. A word that is too long for any is left out: others look."""
    head = f'["{home}"'
    room = MOST_BYTES - len(head) - len("]")
    some, size = list[str](), 0
    for word, times in said.items():
        more = f",[{times},{word}]"  # all of it ASCII, as json.dumps writes it
        if size + len(more) > room and some:
            yield "".join((head, *some, "]"))
            some, size = [], 0
        if len(more) <= room:
            some.append(more)
            size += len(more)
    if some:
        yield "".join((head, *some, "]"))


async def hear_words(
    place: PostgresPlace, home: str, hears: Mapping[Word, Hear], missed: Callable[[], None]
) -> None:
    """Until cancelled, of all but ourselves. `missed` is called whenever some may not have been
    heard."""

    loop, ending = asyncio.get_running_loop(), threading.Event()

    def hear(text: str | None) -> None:
        if text is None:
            missed()
            return
        said_by, *words = json.loads(text)
        if said_by != home:
            for times, (word, *said) in words:
                _hear(hears, times, word, said)

    def listen() -> None:
        while not ending.is_set():
            try:
                for text in heard(place, CHANNEL, ending):
                    loop.call_soon_threadsafe(hear, text)
            except NoticesLost as error:
                log.info("other coordinators are not heard", problem=str(error))
                ending.wait(LOOK_SECONDS)

    # A thread of its own: it is busy for as long as we listen.
    thread = ThreadPoolExecutor(1, thread_name_prefix="hear words")
    try:
        await loop.run_in_executor(thread, listen)
    finally:
        ending.set()
        await asyncio.shield(asyncio.to_thread(thread.shutdown))


def _hear(hears: Mapping[Word, Hear], times: int, word: str, said: Sequence[Any]) -> None:
    hear = cast("Mapping[str, Hear]", hears).get(word)
    if hear is None:  # for others, or of another version
        return
    try:
        hear(times, *said)
    except Exception:  # one word must not keep the others from being heard
        log.exception("a word of another coordinator is not understood", word=word)
