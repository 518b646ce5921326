"""Requests to other people's servers: where they may go, and what they wait for."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from coordinator.domain.outbox.calls import Answered, Call, read_reply
from coordinator.domain.pushes.repo_url import RemotePolicy
from coordinator.outgoing_http import MAX_ANSWER_BYTES, PolicedHttp
from coordinator.ports import RemoteFailed
from coordinator.services.core import utc_now

ANYWHERE = RemotePolicy(http=True, private_addresses=True)
PUBLIC = RemotePolicy(http=True)


@dataclass(slots=True)
class Server:
    url: str = ""
    asked: list[str] = field(default_factory=list)
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        if request.path == "/away":
            raise web.HTTPTemporaryRedirect(f"{self.url}/secret")
        if request.path == "/drip":
            return await self._drip(request)
        return web.Response(body=b"x" * 3 * MAX_ANSWER_BYTES)

    async def _drip(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x")
                await asyncio.sleep(0.05)
        finally:
            self.gone.set()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", server.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await runner.cleanup()


@asynccontextmanager
async def opened(policy: RemotePolicy, seconds: float = 20.0) -> AsyncIterator[PolicedHttp]:
    http = PolicedHttp(policy, answer_seconds=seconds)
    try:
        yield http
    finally:
        await http.close()


def call(url: str) -> Call:
    return Call(method="POST", url=url, headers={"Authorization": "Bearer s3cret"}, body=b"{}")


async def test_a_redirect_is_not_followed_and_is_a_refusal(server: Server) -> None:
    async with opened(ANYWHERE) as http:
        reply = await http.send(call(f"{server.url}/away"))
    assert server.asked == ["/away"]
    outcome = read_reply(reply, utc_now())
    assert outcome.answered is Answered.REFUSED
    assert outcome.reason == "307: a redirect, which is not followed"


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "x.localhost",
        "127.1",
        "2130706433",
        "0x7f.0.0.1",
        "0.0.0.0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "10.1.2.3",
        "169.254.169.254",
        "100.64.0.1",
        "[fd00::1]",
        "[fe80::1]",
    ],
)
async def test_no_way_of_writing_a_private_address_leads_there(server: Server, host: str) -> None:
    port = server.url.rpartition(":")[2]
    async with opened(PUBLIC) as http:
        with pytest.raises(RemoteFailed) as failed:
            await http.send(call(f"http://{host}:{port}/secret"))
    assert failed.value.permanent
    assert server.asked == []


async def test_a_name_that_resolves_to_a_private_address_is_not_connected_to(
    server: Server,
) -> None:
    """This machine's own name, of which the URL shows nothing."""
    name = socket.gethostname()
    try:
        socket.getaddrinfo(name, 80)
    except OSError:
        pytest.skip(f"{name} resolves to nothing here")
    port = server.url.rpartition(":")[2]
    async with opened(PUBLIC) as http:
        with pytest.raises(RemoteFailed, match="private network"):
            await http.send(call(f"http://{name}:{port}/secret"))
    assert server.asked == []


@pytest.mark.parametrize("url", ["http://user@host.example/", "ftp://host.example/", "http:///x"])
async def test_what_is_no_plain_address_is_refused(url: str) -> None:
    async with opened(ANYWHERE) as http:
        with pytest.raises(RemoteFailed, match="no http or https address"):
            await http.send(call(url))


async def test_an_answer_is_read_up_to_its_bound(server: Server) -> None:
    async with opened(ANYWHERE) as http:
        reply = await http.send(call(f"{server.url}/large"))
    assert len(reply.body) == MAX_ANSWER_BYTES


async def test_a_server_that_drips_is_left_and_no_secret_is_told(server: Server) -> None:
    async with opened(ANYWHERE, 0.5) as http:
        with pytest.raises(RemoteFailed, match=r"did not answer within 0.5 s") as failed:
            await http.send(call(f"{server.url}/drip"))
    assert "s3cret" not in str(failed.value)
    await asyncio.wait_for(server.gone.wait(), 60)
