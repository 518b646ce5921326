"""Connections to the coordinator that leads."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from coordinator.api.http.connections import end_when_gone
from coordinator.peers.lead import Lead
from coordinator.storage.lead import Leader

WAIT_SECONDS = 20.0
"""So long a client waits for a leader."""
CONNECT_SECONDS = 2.0
AGAIN_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Upstream:
    lead: Lead
    preface: Callable[[int | str, str], bytes]
    """What a leader, by its number, or a home, by its name, is told of a client, by its address,
    before the client's own bytes."""

    async def reach(self, address: str) -> tuple[Leader, socket.socket] | None:
        """A connection that was begun for a client, to who leads as this returns; None where
        nobody leads for too long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(WAIT_SECONDS):
                while True:
                    leader = self.lead.leader
                    if leader is not None and leader.is_there and leader.address is not None:
                        with suppress(OSError, TimeoutError):
                            said = self.preface(leader.number, address)
                            upstream = await _connected(leader.address, said)
                            if leads_still(leader, self.lead.leader):
                                return leader, upstream
                            upstream.close()
                    await asyncio.sleep(AGAIN_SECONDS)
        return None

    async def reach_home(self, home: str, there: str, address: str) -> socket.socket:
        """A connection to the home of that name, which listens `there`, begun for a client. Raises
        OSError, TimeoutError."""
        return await _connected(there, self.preface(home, address))


async def _connected(there: str, preface: bytes) -> socket.socket:
    """Raises OSError, TimeoutError."""
    host, _, port = there.rpartition(":")
    host = host.strip("[]")
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(CONNECT_SECONDS):
        ((family, kind, protocol, _, found), *_) = await loop.getaddrinfo(
            host, int(port), type=socket.SOCK_STREAM
        )
        upstream = socket.socket(family, kind, protocol)
        try:
            upstream.setblocking(False)
            end_when_gone(upstream)
            upstream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.sock_connect(upstream, found)
            await loop.sock_sendall(upstream, preface)
        except BaseException:
            upstream.close()
            raise
    return upstream


def leads_still(leader: Leader, now: Leader | None) -> bool:
    """Whether who led is, by a later look, there and in the same term."""
    if now is None or not now.is_there:
        return False
    return (now.number, now.holder) == (leader.number, leader.holder)
