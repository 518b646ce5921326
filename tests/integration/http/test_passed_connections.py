"""Connections that one coordinator passes on to another."""

from __future__ import annotations

import asyncio
import io
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from itertools import count

import aiohttp
import pytest
from aiohttp import web

from coordinator.api.http.connections import open_connections
from coordinator.peers import upstream
from coordinator.peers.door import take_passed
from coordinator.peers.forwarder import Forwarder
from coordinator.peers.lead import Lead
from coordinator.peers.log_taking import LogTaking
from coordinator.peers.preface import preface
from coordinator.peers.upstream import Upstream
from coordinator.services.keys import Keys
from coordinator.storage.lead import Leader
from tests.interruption import interrupted_at

KEYS = Keys(b"k" * 32)


class Led(Lead):
    """Looks at no database."""

    def __init__(self) -> None:
        self.leader: Leader | None = None
        self._looked = asyncio.Event()

    def by(self, address: str | None, number: int = 1) -> None:
        self.leader = Leader(
            number=number,
            holder=f"{number}",
            address=address,
            key_print=None,
            silent_seconds=0.0 if address else None,
        )
        self._looked.set()
        self._looked.clear()


def listening() -> socket.socket:
    one = socket.create_server(("127.0.0.1", 0))
    one.setblocking(False)
    return one


def address_of(one: socket.socket) -> str:
    host, port = one.getsockname()
    return f"{host}:{port}"


@asynccontextmanager
async def leading(number: int = 1) -> AsyncIterator[str]:
    """Where others reach one that leads; it tells who asks, echoes, and hangs."""

    async def who(request: web.Request) -> web.Response:
        return web.Response(text=str(request.remote))

    async def echo(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        async for part in request.content.iter_chunked(65_536):
            await response.write(part)
        return response

    async def talk(request: web.Request) -> web.WebSocketResponse:
        talking = web.WebSocketResponse()
        await talking.prepare(request)
        async for message in talking:
            await talking.send_str(message.data[::-1])
        return talking

    async def hang(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await asyncio.sleep(3600)
        return response

    app = web.Application(client_max_size=2**30)
    app.add_routes([web.get("/who", who), web.post("/echo", echo), web.get("/talk", talk)])
    app.add_routes([web.post("/hang", hang)])
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    assert runner.server is not None
    with listening() as door:
        taking = asyncio.create_task(
            take_passed(door, KEYS, number, runner.server, open_connections(), access_log=None)
        )
        try:
            yield address_of(door)
        finally:
            taking.cancel()
            await asyncio.gather(taking, return_exceptions=True)
            await runner.cleanup()


def upstream_of(lead: Led) -> Upstream:
    return Upstream(lead, lambda meant, client: preface(KEYS, meant, client))


@asynccontextmanager
async def passing(lead: Led, logs: LogTaking | None = None) -> AsyncIterator[str]:
    """The URL of one that passes on."""
    with listening() as own:
        forwarder = Forwarder(own, lead, upstream_of(lead), logs)
        forwarder.open()
        try:
            yield f"http://{address_of(own)}"
        finally:
            await forwarder.close()


async def test_all_that_the_leader_serves_is_served_as_to_its_own_clients() -> None:
    lead = Led()
    data = bytes(range(256)) * 40_000
    async with leading() as address, passing(lead) as url, aiohttp.ClientSession(url) as session:
        lead.by(address)
        async with session.get("/who") as answer:
            assert await answer.text() == "127.0.0.1"
        async with session.post("/echo", data=io.BytesIO(data)) as answer:
            assert await answer.read() == data
        async with session.ws_connect("/talk") as talking:
            await talking.send_str("abc")
            assert await talking.receive_str() == "cba"


async def test_a_connection_that_comes_as_the_leader_ends_is_ended_too() -> None:
    """Both in one turn of the loop, the end first."""
    faults: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, fault: faults.append(fault))
    runner = web.AppRunner(web.Application())
    await runner.setup()
    assert runner.server is not None
    ours, theirs = socket.socketpair()
    with listening() as door, ours, theirs:
        ending = asyncio.create_task(
            take_passed(door, KEYS, 1, runner.server, open_connections(), access_log=None)
        )
        await asyncio.sleep(0)

        def end() -> None:
            loop.remove_reader(ours)
            ending.cancel()

        loop.add_reader(ours, end)
        theirs.send(b"now")
        with socket.create_connection(door.getsockname()) as client:
            await asyncio.gather(ending, return_exceptions=True)
            client.setblocking(False)
            async with asyncio.timeout(5):
                assert await loop.sock_recv(client, 1) == b""
    await runner.cleanup()
    assert faults == []


async def test_a_connection_that_has_not_said_whose_it_is_is_ended_with_the_leader() -> None:
    async with leading() as address:
        host, _, port = address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"half a pref")
        await writer.drain()
        await asyncio.sleep(0.1)
    assert await reader.read() == b""
    writer.close()


async def test_the_client_is_who_reached_the_other_coordinator() -> None:
    async with leading(7) as address:
        host, _, port = address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(preface(KEYS, 7, "192.0.2.7"))
        writer.write(b"GET /who HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).endswith(b"192.0.2.7")
        writer.close()


@pytest.mark.parametrize(
    "said",
    [
        preface(Keys(b"x" * 32), 7, "192.0.2.7"),
        preface(KEYS, 6, "192.0.2.7"),
        b"GET /who HTTP/1.1\r\nHost: here\r\n\r\n".ljust(200),
    ],
)
async def test_who_is_no_coordinator_of_this_term_is_not_taken(said: bytes) -> None:
    async with leading(7) as address:
        host, _, port = address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(said)
        with suppress(ConnectionResetError):  # what was sent beyond the preface was not read
            assert await reader.read() == b""
        writer.close()


async def test_who_asks_while_nobody_leads_waits() -> None:
    lead = Led()
    async with leading(2) as address, passing(lead) as url, aiohttp.ClientSession(url) as session:
        lead.by(None)
        asking = asyncio.create_task(session.get("/who"))
        done, _ = await asyncio.wait((asking,), timeout=0.3)
        assert not done
        lead.by(address, 2)
        async with await asking as answer:
            assert answer.status == 200


async def test_who_waits_too_long_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "WAIT_SECONDS", 0.1)
    async with passing(Led()) as url, aiohttp.ClientSession(url) as session:
        async with session.post("/echo", data=b"x" * 1_000_000) as answer:
            assert answer.status == 503
            assert answer.headers["Retry-After"] == "1"
            assert "no coordinator leads" in (await answer.json())["error"]


async def test_connections_to_a_former_leader_end() -> None:
    lead = Led()
    async with leading(1) as address, passing(lead) as url, aiohttp.ClientSession(url) as session:
        lead.by(address, 1)
        hanging = await session.post("/hang")
        async with session.ws_connect("/talk") as talking:
            await talking.send_str("abc")
            await talking.receive_str()
            lead.by("127.0.0.1:1", 2)
            assert (await talking.receive()).type in (
                aiohttp.WSMsgType.CLOSED,
                aiohttp.WSMsgType.ERROR,
            )
        with pytest.raises((aiohttp.ClientConnectionError, aiohttp.ClientPayloadError)):
            await hanging.read()


async def test_who_is_reached_leads_whenever_that_changes() -> None:
    async with leading(1) as former, leading(2) as later:
        for moment in count():
            lead = Led()
            lead.by(former, 1)
            numbers: list[int] = []
            changed = await interrupted_at(
                moment, note_who_is_reached(lead, numbers), partial(lead.by, later, 2)
            )
            if not changed:
                break
            assert numbers == [2], moment
    assert moment > 1


async def note_who_is_reached(lead: Led, numbers: list[int]) -> None:
    found = await upstream_of(lead).reach("192.0.2.7")
    assert found is not None
    leader, connection = found
    connection.close()
    numbers.append(leader.number)


async def test_the_leader_is_told_of_a_client_that_has_gone_without_an_end() -> None:
    lead, loop = Led(), asyncio.get_running_loop()
    with listening() as door, listening() as own:
        lead.by(address_of(door))
        forwarder = Forwarder(own, lead, upstream_of(lead), None)
        forwarder.open()
        client = socket.create_connection(own.getsockname())
        client.sendall(b"GET /events HTTP/1.1\r\n\r\n")
        passed, _ = await loop.sock_accept(door)
        passed.setblocking(False)
        with passed:
            said = b""
            while not said.endswith(b"\r\n\r\n"):
                said += await loop.sock_recv(passed, 65_536)
            reset(client)
            async with asyncio.timeout(60):
                with suppress(ConnectionResetError):
                    assert await loop.sock_recv(passed, 65_536) == b""
        await forwarder.close()


def reset(connection: socket.socket) -> None:
    """As the kernel does by itself where the other machine answers no more."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


async def test_the_answer_of_a_leader_that_reads_no_further_comes_whole() -> None:
    lead, loop = Led(), asyncio.get_running_loop()
    with listening() as door, listening() as own:
        lead.by(address_of(door))
        forwarder = Forwarder(own, lead, upstream_of(lead), None)
        forwarder.open()
        with socket.create_connection(own.getsockname()) as client:
            client.setblocking(False)
            passed, _ = await loop.sock_accept(door)
            passed.setblocking(False)
            with passed:
                passed.shutdown(socket.SHUT_RD)
                await loop.sock_sendall(client, b"x" * 100_000)
                await loop.sock_sendall(passed, b"HTTP/1.1 413 Too Large\r\n\r\n")
                passed.shutdown(socket.SHUT_WR)
                answer = await loop.sock_recv(client, 65_536)
        assert answer.startswith(b"HTTP/1.1 413")
        await forwarder.close()


async def test_one_that_rests_accepts_none_and_ends_none() -> None:
    lead = Led()
    with listening() as own:
        url = f"http://{address_of(own)}"
        forwarder = Forwarder(own, lead, upstream_of(lead), None)
        forwarder.open()
        async with leading() as address, aiohttp.ClientSession(url) as session:
            lead.by(address)
            async with session.ws_connect("/talk") as talking:
                await talking.send_str("abc")
                await talking.receive_str()
                forwarder.rest()
                await talking.send_str("still")
                assert await talking.receive_str() == "llits"
                asking = asyncio.create_task(session.get("/who"))
                done, _ = await asyncio.wait((asking,), timeout=0.3)
                assert not done  # it waits in the kernel, for whoever listens next
                forwarder.open()
                async with await asking as answer:
                    assert answer.status == 200
        await forwarder.close()
