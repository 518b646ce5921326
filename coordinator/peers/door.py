"""Where a leader takes the connections that other coordinators pass on to it."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import structlog
from aiohttp import web

from coordinator.api.http.connections import USED_UP, Connection, OpenConnections, end_when_gone
from coordinator.peers.preface import PREFACE_BYTES, client_of
from coordinator.services.keys import Keys

log = structlog.get_logger()

PREFACE_SECONDS = 10.0
USED_UP_SECONDS = 1.0


class PassedConnection(Connection):
    """It comes from the client, whichever coordinator the client reached."""

    __slots__ = ()

    def __init__(
        self, manager: web.Server, others: OpenConnections, client: str, **options: Any
    ) -> None:
        super().__init__(manager, others, **options)
        # Where aiohttp keeps the other end's address once it has asked for it.
        self._cache["peername"] = (client, 0)


async def take_passed(
    listening: socket.socket,
    keys: Keys,
    meant: int | str,
    server: web.Server,
    connections: OpenConnections,
    **options: Any,
) -> None:
    """Take them until cancelled; they are `meant` for us as the leader of that number, or as the
    home of that name."""
    loop = asyncio.get_running_loop()
    end_when_gone(listening)
    taking: set[asyncio.Task[None]] = set()
    accepted: set[socket.socket] = set()
    """Those that are nobody's yet."""
    # Of our own: another may look at the door while we end, or begin.
    door = listening.dup()

    async def take(connection: socket.socket) -> None:
        try:
            async with asyncio.timeout(PREFACE_SECONDS):
                client = client_of(keys, meant, await _read(connection, PREFACE_BYTES))
            if client is None:
                # Or what was meant for an earlier leader: its client asks again.
                log.info("a connection of no other coordinator was refused")
                return
            accepted.remove(connection)  # from here on it is ended by the loop
            await loop.connect_accepted_socket(
                lambda: PassedConnection(server, connections, client, loop=loop, **options),
                connection,
            )
        except (OSError, TimeoutError) as error:
            log.info("a connection was not taken", problem=type(error).__name__)
        finally:
            if connection in accepted:
                accepted.remove(connection)
                connection.close()

    def look() -> None:
        if door.fileno() != -1:
            loop.add_reader(door, accept)

    def accept() -> None:
        """Not awaited, so that none is accepted and then forgotten when we end."""
        try:
            connection, _ = door.accept()
        except OSError as error:
            if error.errno in USED_UP:
                connections.make_room(connections.spare)
                loop.remove_reader(door)
                loop.call_later(USED_UP_SECONDS, look)
            return
        connection.setblocking(False)
        # No group of tasks, which the fault of one would end.
        accepted.add(connection)
        task = asyncio.create_task(take(connection))
        taking.add(task)
        task.add_done_callback(taking.discard)

    look()
    try:
        await loop.create_future()
    finally:
        loop.remove_reader(door)
        door.close()
        for task in taking:
            task.cancel()
        await asyncio.gather(*taking, return_exceptions=True)
        for connection in accepted:  # whose task had not begun
            connection.close()


async def _read(connection: socket.socket, size: int) -> bytes:
    """So many bytes and no more: the next are the client's. Fewer at the end."""
    loop, given = asyncio.get_running_loop(), b""
    while len(given) < size and (more := await loop.sock_recv(connection, size - len(given))):
        given += more
    return given
