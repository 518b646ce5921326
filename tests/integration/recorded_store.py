"""A store of objects that remembers what it was asked, before the tests' S3 server."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import aiohttp
from aiohttp import web
from yarl import URL

from coordinator.objects.places import ObjectsPlace
from tests.ports import free_port

HOP = {"host", "transfer-encoding", "connection", "content-length"}


@dataclass(frozen=True, slots=True)
class Asked:
    method: str
    url: URL
    headers: Mapping[str, str]

    @property
    def is_signed_address(self) -> bool:
        """Not the coordinator's own question after unfinished uploads."""
        return "X-Amz-Signature" in self.url.query and "uploads" not in self.url.query


@dataclass(slots=True)
class RecordedStore:
    place: ObjectsPlace
    """As a coordinator that goes through here has it."""
    behind: str
    session: aiohttp.ClientSession
    asked: list[Asked] = field(default_factory=list)
    answers_addresses: bool = True
    breaks_off: bool = False
    """In the middle of what it hands out at an address."""

    @property
    def by_address(self) -> list[Asked]:
        return [one for one in self.asked if one.is_signed_address]

    async def carry(self, request: web.Request) -> web.StreamResponse:
        url = URL(f"http://{request.host}{request.raw_path}", encoded=True)
        asked = Asked(request.method, url, request.headers.copy())
        self.asked.append(asked)
        if asked.is_signed_address and not self.answers_addresses:
            return web.Response(status=403, text="<Code>AccessDenied</Code>")
        there = URL(f"{self.behind}{request.raw_path}", encoded=True)
        headers = {name: text for name, text in request.headers.items() if name.lower() not in HOP}
        async with self.session.request(
            request.method, there, headers=headers, data=io.BytesIO(await request.read())
        ) as found:
            kept = {name: text for name, text in found.headers.items() if name.lower() not in HOP}
            if request.method == "HEAD":
                kept["Content-Length"] = found.headers.get("Content-Length", "0")
            body = await found.read()
            if asked.is_signed_address and self.breaks_off:
                return await _half(request, body)
            return web.Response(status=found.status, headers=kept, body=body)


async def _half(request: web.Request, body: bytes) -> web.StreamResponse:
    response = web.StreamResponse()
    response.content_length = len(body)
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    response.force_close()
    return response


@asynccontextmanager
async def recorded_store(place: ObjectsPlace) -> AsyncIterator[RecordedStore]:
    port = free_port()
    through = replace(place, endpoint=f"http://127.0.0.1:{port}")
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        store = RecordedStore(through, place.endpoint or "", session)
        app = web.Application(client_max_size=1 << 28)
        app.router.add_route("*", "/{tail:.*}", store.carry)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        try:
            yield store
        finally:
            await runner.cleanup()
