"""What a short log costs: requests that a store bills, objects, commits."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

import aiohttp
import obstore
import pytest
from aiohttp import web
from obstore.store import ObjectStore

from coordinator.object_ports import LogTails
from coordinator.objects.logs import ObjectLogStore
from coordinator.objects.places import open_objects
from coordinator.objects.stores import open_store
from pipelines_schema.log_frames import Frame, Stream
from tests.database_tails import open_tails
from tests.integration.coordinator_fixture import Coordinator, eventually, step_of
from tests.integration.statements import collected
from tests.integration.step_costs import patient_coordinator
from tests.s3_server import S3Server

ATTEMPT = "0b8f4f3c-6a55-4d8e-9c8a-1f2e3d4c5b6a-1"
BILLED_AS_PUTS = ("PUT", "POST", "LIST")
LINE = b"a line of a short log\n"


@dataclass(slots=True)
class CountingProxy:
    """Before an S3 server: passes on what it is asked, and counts it."""

    target: str
    requests: Counter[str] = field(default_factory=Counter)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self._pass_on)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        async with aiohttp.ClientSession(auto_decompress=False) as self._session:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        await runner.cleanup()

    _session: aiohttp.ClientSession = field(init=False)

    async def _pass_on(self, request: web.Request) -> web.Response:
        is_list = request.method == "GET" and "list-type" in request.query
        self.requests["LIST" if is_list else request.method] += 1
        url = self.target + request.raw_path
        async with self._session.request(
            request.method, url, headers=request.headers, data=await request.read()
        ) as answer:
            headers = {
                name: value
                for name, value in answer.headers.items()
                if name.lower() not in ("transfer-encoding", "content-encoding", "connection")
            }
            if request.method == "HEAD":
                return web.Response(status=answer.status, headers=headers)
            headers.pop("Content-Length", None)
            return web.Response(status=answer.status, headers=headers, body=await answer.read())

    @property
    def billed_as_puts(self) -> int:
        return sum(self.requests[one] for one in BILLED_AS_PUTS)


@pytest.fixture
async def tails(tmp_path: Path) -> AsyncIterator[LogTails]:
    async with open_tails(tmp_path / "database") as tails:
        yield tails


async def write(logs: ObjectLogStore, text: bytes, at_once: int) -> None:
    for at in range(0, len(text), at_once):
        data = text[at : at + at_once]
        await logs.append(ATTEMPT, at, [Frame(stream=Stream.STDOUT, time_ms=at, data=data)])


@pytest.mark.parametrize(
    ("size", "at_once"), [(len(LINE), 100), (4000, 100), (65_535, 700), (65_535, 65_535)]
)
async def test_a_log_under_64_kib_costs_one_put_of_a_bucket(
    size: int, at_once: int, s3_server: S3Server, tmp_path: Path, tails: LogTails
) -> None:
    """In all, whatever the number of its appends; a listing would be billed like a put."""
    text = (LINE * 3000)[:size]
    proxy = CountingProxy(s3_server.endpoint)
    async with proxy.running() as endpoint:
        place = s3_server.place(tmp_path / "credentials", tmp_path.name)
        objects = open_objects(replace(place, endpoint=endpoint))
        logs = ObjectLogStore(objects, tails)
        await write(logs, text, at_once)
        assert proxy.billed_as_puts == 0
        await logs.digest(ATTEMPT)
        await logs.close(ATTEMPT)
        await logs.forget_tail(ATTEMPT)
        assert await ObjectLogStore(objects, tails).read(ATTEMPT, 0, size) == text
        assert (proxy.requests["PUT"], proxy.billed_as_puts) == (1, 1)


async def test_a_coordinator_that_dies_in_the_middle_costs_no_put_more(
    s3_server: S3Server, tmp_path: Path, tails: LogTails
) -> None:
    """Each append and the closing by another process than the one before."""
    proxy = CountingProxy(s3_server.endpoint)
    async with proxy.running() as endpoint:
        place = s3_server.place(tmp_path / "credentials", tmp_path.name)
        objects = open_objects(replace(place, endpoint=endpoint))
        for number in range(5):
            logs = ObjectLogStore(objects, tails)
            frame = Frame(stream=Stream.STDOUT, time_ms=1, data=LINE)
            assert await logs.append(ATTEMPT, number * len(LINE), [frame])
        await ObjectLogStore(objects, tails).close(ATTEMPT)
        assert await ObjectLogStore(objects, tails).read(ATTEMPT, 0, 1000) == LINE * 5
        assert proxy.billed_as_puts == 1


async def test_what_another_coordinator_took_is_checked_without_a_look_into_the_store(
    s3_server: S3Server, tmp_path: Path, tails: LogTails
) -> None:
    """By the one that saw the attempt begin; a log that is in the store, too, is found there."""
    proxy = CountingProxy(s3_server.endpoint)
    async with proxy.running() as endpoint:
        place = s3_server.place(tmp_path / "credentials", tmp_path.name)
        objects = open_objects(replace(place, endpoint=endpoint))
        logs = ObjectLogStore(objects, tails)
        logs.begin(ATTEMPT)
        text = LINE * 3000
        await write(ObjectLogStore(objects, tails), text[:44_000], 22_000)
        proxy.requests.clear()
        assert (await logs.digest(ATTEMPT)).sha256 == sha256(text[:44_000]).hexdigest()
        assert not proxy.requests
        again = ObjectLogStore(objects, tails)
        again.begin(ATTEMPT)
        frame = Frame(stream=Stream.STDOUT, time_ms=1, data=text[44_000:])
        await ObjectLogStore(objects, tails).append(ATTEMPT, 44_000, [frame])
        assert (await again.digest(ATTEMPT)).sha256 == sha256(text).hexdigest()


async def test_a_short_log_of_single_bytes_costs_one_put_too(
    s3_server: S3Server, tmp_path: Path, tails: LogTails
) -> None:
    proxy = CountingProxy(s3_server.endpoint)
    async with proxy.running() as endpoint:
        place = s3_server.place(tmp_path / "credentials", tmp_path.name)
        objects = open_objects(replace(place, endpoint=endpoint))
        logs, byte = (
            ObjectLogStore(objects, tails),
            Frame(stream=Stream.STDERR, time_ms=1, data=b"."),
        )
        for at in range(0, 65_000, 6500):
            await logs.append(ATTEMPT, at, [byte] * 6500)
        await logs.close(ATTEMPT)
        assert await ObjectLogStore(objects, tails).read(ATTEMPT, 0, 65_536) == b"." * 65_000
        assert proxy.billed_as_puts == 1


async def objects_of(store: ObjectStore) -> list[str]:
    return [entry["path"] for entry in await obstore.list(store, "logs").collect_async()]


async def test_a_log_under_64_kib_is_one_object_of_a_folder(
    tmp_path: Path, tails: LogTails
) -> None:
    objects = open_store(tmp_path / "objects")
    logs = ObjectLogStore(objects, tails)
    await write(logs, LINE * 2000, 500)
    assert await objects_of(objects) == []
    await logs.close(ATTEMPT)
    assert await objects_of(objects) == [f"logs/{ATTEMPT}/log.zst"]


async def test_the_database_holds_a_bounded_part_of_a_log(tails: LogTails, tmp_path: Path) -> None:
    """Rows and bytes, also of a log of single bytes."""
    logs = ObjectLogStore(open_store(tmp_path / "objects"), tails)
    size = most_rows = most_bytes = 0
    for number in range(400):
        data = b"." if number % 2 else LINE * (number % 60)
        frames = [Frame(stream=Stream.STDOUT, time_ms=1, data=b"%c" % one) for one in data]
        size = await logs.append(ATTEMPT, size, frames)
        pieces = await tails.pieces(ATTEMPT)
        most_rows = max(most_rows, len(pieces))
        most_bytes = max(most_bytes, sum(piece.body_bytes for piece in pieces))
    assert most_rows <= 66
    assert most_bytes <= 1024 * 1024
    assert await logs.size(ATTEMPT) == size


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with patient_coordinator(tmp_path) as coordinator:
        yield coordinator


async def test_a_step_with_a_short_log_costs_few_commits(coordinator: Coordinator) -> None:
    """One for what is acknowledged; its folding is two, after the step."""
    admin = coordinator.admin
    agent, project = await admin.new_agent(), await admin.new_project()
    await admin.new_build(project, step_of("only"))
    spec = await agent.take()
    with collected() as statements:
        (await agent.append(spec, 0, LINE)).expect(204)
    appended = [text for text, _ in statements]
    assert appended.count("BEGIN IMMEDIATE") == 1
    with collected() as statements:
        (await agent.complete(spec)).expect(200)
        path = coordinator.data / "objects" / "logs" / f"{spec['stepId']}-1"

        async def folded() -> bool:
            return any("DELETE FROM log_tails" in text for text, _ in statements)

        await eventually(folded)
    assert [one.name for one in path.iterdir()] == ["log.zst"]
    assert [text for text, _ in statements].count("BEGIN IMMEDIATE") == 3
