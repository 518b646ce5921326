"""What a coordinator that does not lead does: pass each connection on to the one that does.

Bytes are passed on as they come, so that all that the leader serves is served here: requests, git,
followed logs, WebSockets. While nobody leads a client waits; when the leader changes, connections
to the former one end, as they would have with it.
"""

from __future__ import annotations

import asyncio
import resource
import socket
import struct
from contextlib import suppress

import structlog

from coordinator.api.http.connections import USED_UP, end_when_gone
from coordinator.peers.desk import begins_an_agents
from coordinator.peers.lead import RETRY_AFTER, Lead
from coordinator.peers.log_taking import PEEKED_BYTES, LogTaking, begins_a_log
from coordinator.peers.upstream import Upstream, leads_still
from coordinator.place import BACKLOG
from coordinator.storage.lead import Leader

log = structlog.get_logger()

CHUNK_BYTES = 64 * 1024
FIRST_SECONDS = 1.0
"""A client that has sent nothing for so long may still send anything."""
LAST_SECONDS = 5.0
"""So long a client may take its time to close, once the leader has."""
USED_UP_SECONDS = 1.0
_BODY = b'{"error": "no coordinator leads at the moment: ask again"}'
NOBODY = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nConnection: close\r\n"
    b"Retry-After: %s\r\nContent-Length: %d\r\n\r\n%s" % (RETRY_AFTER.encode(), len(_BODY), _BODY)
)


class Forwarder:
    """`open` it, and `rest` while this coordinator serves by itself."""

    def __init__(
        self, listening: socket.socket, lead: Lead, upstream: Upstream, logs: LogTaking | None
    ) -> None:
        """`logs` takes connections that bring them, while it is open; nobody does by default."""
        # Of our own: whoever else listens closes his.
        self._listening, self._lead, self._upstream = listening.dup(), lead, upstream
        self._logs = logs
        self._passing: dict[asyncio.Task[None], Leader | None] = {}
        """To whom; None while one is waited for."""
        self._watching = asyncio.create_task(self._end_former())
        self._is_open = False
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._most = (2**31 if files == resource.RLIM_INFINITY else files) // 4
        """Each takes two descriptors."""

    def open(self) -> None:
        end_when_gone(self._listening)
        self._listening.listen(BACKLOG)
        self._is_open = True
        self._listen()

    def rest(self) -> None:
        """Accept none; those that wait go on, to this coordinator if it leads."""
        self._is_open = False
        asyncio.get_running_loop().remove_reader(self._listening)

    async def close(self) -> None:
        self.rest()
        passing = [self._watching, *self._passing]
        for task in passing:
            task.cancel()
        await asyncio.gather(*passing, return_exceptions=True)
        self._listening.close()

    def _listen(self) -> None:
        if self._is_open and len(self._passing) < self._most:
            asyncio.get_running_loop().add_reader(self._listening, self._accept)

    def _accept(self) -> None:
        """Not awaited, so that none is accepted and then forgotten when we stop."""
        loop = asyncio.get_running_loop()
        try:
            client, address = self._listening.accept()
        except OSError as error:
            if error.errno in USED_UP:
                loop.remove_reader(self._listening)
                loop.call_later(USED_UP_SECONDS, self._listen)
            return
        client.setblocking(False)
        task = asyncio.create_task(self._serve(client, str(address[0]).partition("%")[0]))
        self._passing[task] = None
        task.add_done_callback(self._ended)
        if len(self._passing) >= self._most:
            loop.remove_reader(self._listening)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._passing[task]
        self._listen()

    async def _serve(self, client: socket.socket, address: str) -> None:
        """Ends `client`."""
        with client:
            try:
                if await self._is_served_here(client):
                    return
                found = await self._upstream.reach(address)
                if found is None:
                    await _tell_nobody(client)
                    return
                leader, upstream = found
                with upstream:
                    self._note(leader)
                    await _pass_on(client, upstream)
            except OSError:
                _break_off(client)
            except asyncio.CancelledError:
                _break_off(client)
                raise

    async def _is_served_here(self, client: socket.socket) -> bool:
        """Then it is no longer ours. Raises OSError."""
        logs = self._logs
        if logs is None or not logs.is_open:
            return False
        peeked = await _first_bytes(client)
        if begins_a_log(peeked):
            await logs.take(socket.socket(fileno=client.detach()))
        elif begins_an_agents(peeked) and logs.is_open:
            await logs.take_agents(socket.socket(fileno=client.detach()))
        else:
            return False
        return True

    def _note(self, leader: Leader) -> None:
        if (task := asyncio.current_task()) in self._passing:
            self._passing[task] = leader

    async def _end_former(self) -> None:
        """Break off what was passed on to one that leads no more: silent, or another in its
        place."""
        while True:
            await self._lead.changed()
            now = self._lead.leader
            for task, leader in list(self._passing.items()):
                if leader is not None and not leads_still(leader, now):
                    task.cancel()


async def _first_bytes(client: socket.socket) -> bytes:
    """Which stay to be read. What comes in pieces smaller than a request's head is for the leader,
    which serves all."""
    loop, readable = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(client, readable.set)
    try:
        async with asyncio.timeout(FIRST_SECONDS):
            await readable.wait()
        return client.recv(PEEKED_BYTES, socket.MSG_PEEK)
    except (TimeoutError, BlockingIOError):
        return b""
    finally:
        loop.remove_reader(client)


async def _pass_on(client: socket.socket, upstream: socket.socket) -> None:
    """Both ways, until the leader has ended or the client has gone. Raises OSError where the client
    must not take what it has for the whole."""
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    asking = asyncio.create_task(_ask(client, upstream))
    answering = asyncio.create_task(_answer(upstream, client))
    try:
        await asyncio.wait((asking, answering), return_when=asyncio.FIRST_COMPLETED)
        if asking.done():
            await asking
        await answering
        await asyncio.wait((asking,), timeout=LAST_SECONDS)
    finally:
        for task in (asking, answering):
            task.cancel()
        await asyncio.gather(asking, answering, return_exceptions=True)


async def _ask(client: socket.socket, upstream: socket.socket) -> None:
    """To the client's end, which is passed on, or until the leader takes no more: it may answer all
    the same. Raises OSError where the client has gone, which the leader, who may have nothing to
    send for long, would not find out by itself."""
    loop = asyncio.get_running_loop()
    while given := await loop.sock_recv(client, CHUNK_BYTES):
        try:
            await loop.sock_sendall(upstream, given)
        except OSError:
            return
    with suppress(OSError):
        upstream.shutdown(socket.SHUT_WR)


async def _answer(upstream: socket.socket, client: socket.socket) -> None:
    """To the leader's end, which is passed on. Raises OSError."""
    loop = asyncio.get_running_loop()
    while given := await loop.sock_recv(upstream, CHUNK_BYTES):
        await loop.sock_sendall(client, given)
    with suppress(OSError):
        client.shutdown(socket.SHUT_WR)


def _break_off(client: socket.socket) -> None:
    """Reset it: what was sent so far must not look finished."""
    with suppress(OSError):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def _tell_nobody(client: socket.socket) -> None:
    """Raises OSError."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(client, NOBODY)
    client.shutdown(socket.SHUT_WR)
    # What it still sends is read, or the answer would be lost with the connection.
    with suppress(TimeoutError):
        async with asyncio.timeout(LAST_SECONDS):
            while await loop.sock_recv(client, CHUNK_BYTES):
                pass
