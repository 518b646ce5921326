"""Whether this coordinator leads, who does otherwise, and when to take the lead."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from secrets import token_hex
from typing import TypeVar

import structlog
from aiohttp import web
from sqlalchemy.exc import DBAPIError

from coordinator.storage.lead import CERTAIN_SECONDS, Leader, LeadRow
from coordinator.storage.postgresql import cannot_use, words_of
from coordinator.storage.soundness import DatabaseUnusable

log = structlog.get_logger()

T = TypeVar("T")
LOOK_SECONDS = 1.0
RETRY_AFTER = "1"
NOT_SURE = (
    "this coordinator does not know whether it still leads: look whether it was done, or ask again"
)


class Lead:
    """`watch` it; each second the row is looked at, and what it says is true of now."""

    def __init__(self, row: LeadRow, clock: Callable[[], float]) -> None:
        self._row, self._clock = row, clock
        self._holder: str | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="lead")
        self._certain_until = float("-inf")
        self._looked = asyncio.Event()
        """Set with each look, and cleared at once: who waits, waits for the next."""
        self._problem: DBAPIError | None = None
        self.leader: Leader | None = None
        """As it was last seen: while the database does not answer that is all that is known."""

    @property
    def is_ours(self) -> bool:
        return self._holder is not None and self._holder == (self.leader and self.leader.holder)

    @property
    def is_certain(self) -> bool:
        """That no other has been put in our place. By a clock that counts while we are paused."""
        return self._clock() < self._certain_until

    def _is_still_certain(self) -> bool:
        # A call, since mypy takes a property for what it was before the request.
        return self.is_certain

    async def look(self) -> bool:
        """Whether the database has answered. Raises DatabaseUnusable where waiting does not
        help."""
        began = self._clock()
        try:
            self.leader = await self._ask(partial(self._row.turn, self._holder))
        except DBAPIError as error:
            log.warning("it can't be seen who leads", problem=words_of(error))
            self._problem = error
            return False
        if self.is_ours:
            # Counted from before we asked: the row may have been written any time since.
            self._certain_until = began + CERTAIN_SECONDS
        else:
            self._certain_until = float("-inf")
        self._looked.set()
        self._looked.clear()
        return True

    async def first_look(self, wait_seconds: float, stop: asyncio.Event) -> None:
        """Nothing may be made up for what was not seen, as a key. Returns without a look where
        `stop` is set before there is one. Raises DatabaseUnusable."""
        last = self._clock() + wait_seconds
        while not stop.is_set() and not await self.look():
            if self._clock() >= last and self._problem is not None:
                raise cannot_use(self._row.place, self._problem) from self._problem
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await stop.wait()

    async def watch(self) -> None:
        """Look each second."""
        while True:
            try:
                await self.look()
            except DatabaseUnusable as error:
                log.error("it can't be seen who leads", problem=str(error))
            await asyncio.sleep(LOOK_SECONDS)

    async def changed(self) -> None:
        """Wait for the next look."""
        await self._looked.wait()

    async def until_free(self) -> None:
        """Wait until somebody else should lead than who does; a silent one is put out."""
        while True:
            leader = self.leader
            if leader is None or leader.silent_seconds is None:
                return
            if not leader.is_there:
                with suppress(DBAPIError):
                    ended = await self._ask(self._row.put_out)
                    log.warning("the leader is silent", number=leader.number, ended_sessions=ended)
                    return
            await self.changed()

    async def until_ours(self) -> int:
        """Wait until the row says that we lead; the number of our term."""
        while True:
            leader = self.leader
            if leader is not None and self.is_ours and leader.address is not None:
                return leader.number
            await self.changed()

    async def until_lost(self) -> None:
        """Wait, as the leader, until another is."""
        while self.is_ours:
            await self.changed()

    def begin(self) -> str:
        """A try to lead: the name that it has in the row, and no other try."""
        self._holder = token_hex(8)
        return self._holder

    async def end(self) -> None:
        """It is over. Where the row can't be told, it goes silent: nobody says any more that who
        has that name is there."""
        holder, self._holder = self._holder, None
        self._certain_until = float("-inf")
        if holder is not None:
            with suppress(DBAPIError):
                await self._ask(partial(self._row.step_down, holder))

    async def close(self) -> None:
        await asyncio.to_thread(self._thread.shutdown)
        self._row.close()

    async def _ask(self, ask: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, ask)

    @web.middleware
    async def answers(
        self,
        request: web.Request,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        """Nobody is answered by one that may have been put out: not that a lease goes on, which
        another gives back, nor what was true before."""
        if not self.is_certain:
            return _not_sure()
        response = await handler(request)
        # Asked again: a poll is held for long, and we may have been paused meanwhile.
        return response if response.prepared or self._is_still_certain() else _not_sure()


def _not_sure() -> web.Response:
    return web.json_response({"error": NOT_SURE}, status=503, headers={"Retry-After": RETRY_AFTER})
