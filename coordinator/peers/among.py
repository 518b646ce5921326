"""The life of a coordinator that has others beside it: it passes on, leads, and passes on again."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from coordinator.object_ports import ObjectsUnusable
from coordinator.peers.forwarder import Forwarder
from coordinator.peers.lead import Lead
from coordinator.peers.log_taking import LogTaking
from coordinator.peers.preface import preface
from coordinator.peers.upstream import Upstream
from coordinator.services.keys import KeyPlace, Keys, KeyUnusable, load_keys
from coordinator.storage.lead import Leader, LeadRow
from coordinator.storage.postgres_transactions import AnotherWrites, TakenOver
from coordinator.storage.postgresql import Candidate, PostgresPlace
from coordinator.storage.soundness import DatabaseUnusable
from coordinator.storage.trouble import DatabaseTrouble

log = structlog.get_logger()

AGAIN_SECONDS = 2.0
"""After a try to lead that failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """A try to lead, or the leading itself."""

    candidate: Candidate
    lead: Lead
    door: socket.socket
    """Where the others pass connections on to."""
    keys: Keys
    upstream: Upstream
    """To the others."""
    stop: asyncio.Event
    """Set when it is over, or the process is to end."""
    serving: Callable[[], None]
    """To be called once clients are served."""


async def run_among_others(
    place: PostgresPlace,
    key: KeyPlace,
    listening: socket.socket,
    door: socket.socket,
    address: str,
    *,
    wait_seconds: float,
    clock: Callable[[], float],
    work: Callable[[Term], Awaitable[None]],
    logs: Callable[[Lead, Keys, Upstream], LogTaking],
    ready: Callable[[], None],
    stop: asyncio.Event,
) -> None:
    """Until `stop` is set; `ready` is called once there is somebody who answers.

    `logs` are taken while another leads. `work` leads for one term: it raises TakenOver where that
    ends before it is told to stop, and AnotherWrites where it can't begin. `address` is where the
    others reach `door`; a database that does not answer is waited for at the start. Raises what
    the first try to lead fails by, KeyUnusable, DatabaseUnusable.
    """
    async with _watched(place, clock, wait_seconds, stop) as lead:
        if stop.is_set():
            return
        keys = _keys(lead.leader, key)
        upstream = Upstream(lead, lambda meant, client: preface(keys, meant, client))
        taking = logs(lead, keys, upstream)
        forwarder = Forwarder(listening, lead, upstream, taking)
        taking_logs = asyncio.create_task(taking.run(), name="logs")
        try:
            await _Life(lead, forwarder, address, keys, door, upstream, work, ready, stop).live()
        finally:
            await forwarder.close()
            await _end(taking_logs)


@dataclass(slots=True)
class _Life:
    lead: Lead
    forwarder: Forwarder
    address: str
    keys: Keys
    door: socket.socket
    upstream: Upstream
    work: Callable[[Term], Awaitable[None]]
    ready: Callable[[], None]
    stop: asyncio.Event
    _has_answered: bool = False

    async def live(self) -> None:
        while not self.stop.is_set():
            self.forwarder.open()
            if await self._pass_on():
                await self._try()

    async def _pass_on(self) -> bool:
        """Until it is ours to lead, or to stop: then False."""
        free = asyncio.create_task(self.lead.until_free())
        answered = asyncio.create_task(self._until_somebody_answers())
        stopping = asyncio.create_task(self.stop.wait())
        try:
            await asyncio.wait((free, stopping), return_when=asyncio.FIRST_COMPLETED)
            return not self.stop.is_set()
        finally:
            await _end(free, answered, stopping)

    async def _until_somebody_answers(self) -> None:
        while (leader := self.lead.leader) is None or not leader.is_there or not leader.address:
            await self.lead.changed()
        log.info("another coordinator leads: connections are passed on", at=leader.address)
        self._answers()

    def _answers(self) -> None:
        if not self._has_answered:
            self._has_answered = True
            self.ready()

    def _serves(self) -> None:
        self.forwarder.rest()
        self._answers()

    async def _try(self) -> None:
        """Lead, if nobody is quicker. Raises what the first try fails by."""
        over = asyncio.Event()
        term = Term(
            candidate=Candidate(
                holder=self.lead.begin(), address=self.address, key_print=self.keys.print
            ),
            lead=self.lead,
            door=self.door,
            keys=self.keys,
            upstream=self.upstream,
            stop=over,
            serving=self._serves,
        )
        ending = asyncio.create_task(self._end_when_over(over))
        try:
            await self.work(term)
        except Exception as error:
            await self.lead.end()
            await self._failed(_causes(error))
        finally:
            await _end(ending)
            await self.lead.end()
        await self.lead.look()

    async def _failed(self, causes: Sequence[Exception]) -> None:
        """Raises what nobody can wait for to pass."""
        first = causes[0]
        if isinstance(first, AnotherWrites):
            log.info("another coordinator was quicker to take the lead")
            # One that has no others beside it is quicker each time, and can't be put out.
            await asyncio.sleep(AGAIN_SECONDS)
        elif any(isinstance(cause, TakenOver) for cause in causes):
            log.warning("another coordinator leads now")
        elif self._has_answered and all(isinstance(cause, _PASSING) for cause in causes):
            log.error("it can't lead", problem=str(first) or type(first).__name__)
            await asyncio.sleep(AGAIN_SECONDS)
        else:
            raise first

    async def _end_when_over(self, over: asyncio.Event) -> None:
        """Sets `over` when the process is to stop, or another leads."""
        stopping = asyncio.create_task(self.stop.wait())
        lost = asyncio.create_task(self._until_lost())
        try:
            await asyncio.wait((stopping, lost), return_when=asyncio.FIRST_COMPLETED)
            if not self.stop.is_set():
                # At once: to wind up what we began takes a while.
                self.forwarder.open()
            over.set()
        finally:
            await _end(stopping, lost)

    async def _until_lost(self) -> None:
        while not self.lead.is_ours:
            await self.lead.changed()
        await self.lead.until_lost()


async def _end(*tasks: asyncio.Task[None] | asyncio.Task[bool]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


_PASSING = (DatabaseUnusable, ObjectsUnusable, OSError, DatabaseTrouble)


def _causes(error: Exception) -> Sequence[Exception]:
    """Those of the tasks that ended with it."""
    if not isinstance(error, ExceptionGroup):
        return [error]
    return [cause for one in error.exceptions for cause in _causes(one)]


@asynccontextmanager
async def _watched(
    place: PostgresPlace, clock: Callable[[], float], wait_seconds: float, stop: asyncio.Event
) -> AsyncIterator[Lead]:
    """Raises DatabaseUnusable."""
    lead = Lead(LeadRow(place), clock)
    try:
        await lead.first_look(wait_seconds, stop)
        watching = asyncio.create_task(lead.watch())
        try:
            yield lead
        finally:
            await _end(watching)
    finally:
        await lead.close()


def _keys(leader: Leader | None, place: KeyPlace) -> Keys:
    """All must have the same. Raises KeyUnusable."""
    known = leader.key_print if leader else None
    if known is not None and place.given is None and not place.file.exists():
        raise KeyUnusable(
            f"the other coordinators have a key that {place.file} must hold, too: copy the file "
            "`secret-key` of the data folder of one of them there, with mode 0600, or name the "
            "file that has it in `secret_key_file`, as theirs do"
        )
    keys = load_keys(place)
    if known is not None and known != keys.print:
        raise KeyUnusable(
            f"{place.file} holds another key than that of the other coordinators: put a copy of "
            "the file `secret-key` of the data folder of one of them, or of what their "
            "`secret_key_file` names, in its place"
        )
    return keys
