"""Following a build, against a coordinator that answers as the real one does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from pytest_aiohttp.plugin import AiohttpServer

from pushrod.client import Client
from pushrod.connection import Connection
from pushrod.errors import NotFoundError, ProtocolError, UnauthorizedError, UnreachableError
from pushrod.following import Patience, follow_build, read_whole_log
from pushrod.transport import Json

TOKEN = "t0ken"
FINISHED = {"SUCCESS", "FAILED", "CANCELLED", "SKIPPED"}


@dataclass
class ScriptedCoordinator:
    """One build whose news come when the test says so; held questions wait for them."""

    steps: dict[str, Json] = field(default_factory=dict)
    logs: dict[tuple[str, int], bytes] = field(default_factory=dict)
    closed: set[tuple[str, int]] = field(default_factory=set)
    state: str = "running"
    version: int = 1
    slice_bytes: int = 1 << 20
    failing: int = 0
    """How many questions from now on are answered 503."""
    overdue: int = 0
    """How many held questions are to end with no news, as after their whole time."""
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def change(self) -> None:
        self.version += 1
        async with self.changed:
            self.changed.notify_all()

    async def step(self, name: str, status: str, attempt: int = 1, **more: Any) -> None:
        started = {"startedAt": "2025-01-01T00:00:00Z"} if attempt else {}
        self.steps[name] = {
            "id": f"id-{name}",
            "name": name,
            "status": status,
            "attempt": attempt,
            **started,
            **more,
        }
        await self.change()

    async def log(self, name: str, data: bytes, attempt: int = 1, *, last: bool = False) -> None:
        key = (f"id-{name}", attempt)
        self.logs[key] = self.logs.get(key, b"") + data
        if last:
            self.closed.add(key)
        await self.change()

    async def finish(self, state: str) -> None:
        self.state = state
        await self.change()

    async def let_time_pass(self) -> None:
        self.overdue += 1
        async with self.changed:
            self.changed.notify_all()

    async def get_build(self, request: web.Request) -> web.Response:
        self._answerable(request)
        seen = request.query.get("seen")
        async with self.changed:
            await self.changed.wait_for(lambda: str(self.version) != seen or self.overdue > 0)
            self.overdue -= str(self.version) == seen
        steps = list(self.steps.values())
        return web.json_response(
            {"id": "b", "version": self.version, "state": self.state, "steps": steps}
        )

    async def get_log(self, request: web.Request) -> web.Response:
        self._answerable(request)
        step_id = request.match_info["step"]
        attempts = [attempt for known, attempt in self.logs if known == step_id]
        if not attempts:
            raise web.HTTPNotFound(text='{"error": "no log yet"}')
        key = (step_id, int(request.query.get("attempt", max(attempts))))
        offset = int(request.query["offset"])
        if "wait" in request.query:
            async with self.changed:
                await self.changed.wait_for(
                    lambda: len(self.logs.get(key, b"")) > offset or key in self.closed
                )
        whole = self.logs.get(key, b"")
        data = whole[offset : offset + self.slice_bytes]
        complete = key in self.closed and offset + len(data) == len(whole)
        headers = {
            "Log-Next-Offset": str(offset + len(data)),
            "Log-Complete": "true" if complete else "false",
            "Log-Attempt": str(key[1]),
        }
        return web.Response(body=data, headers=headers)

    def _answerable(self, request: web.Request) -> None:
        if request.headers["Authorization"] != f"Bearer {TOKEN}":
            raise web.HTTPUnauthorized(text='{"error": "unknown token"}')
        if self.failing > 0:
            self.failing -= 1
            raise web.HTTPServiceUnavailable(text='{"error": "restarting"}')


@dataclass
class Witness:
    """An audience that remembers, and tells a test when it has seen enough."""

    bytes_of: dict[tuple[str, int], bytes] = field(default_factory=dict)
    changes: list[tuple[str, str]] = field(default_factory=list)
    ended: list[tuple[str, int]] = field(default_factory=list)
    waits: list[tuple[str, str]] = field(default_factory=list)
    grew: asyncio.Event = field(default_factory=asyncio.Event)

    def step_waits(self, step: Json) -> None:
        self.waits.append((step["name"], step["waitsFor"]))
        self.grew.set()

    def step_changed(self, step: Json) -> None:
        self.changes.append((step["name"], step["status"]))

    def log_grew(self, step: Json, attempt: int, offset: int, data: bytes) -> None:
        key = (step["name"], attempt)
        assert offset == len(self.bytes_of.get(key, b""))
        self.bytes_of[key] = self.bytes_of.get(key, b"") + data
        self.grew.set()

    def log_ended(self, step: Json, attempt: int) -> None:
        self.ended.append((step["name"], attempt))


@pytest.fixture
def coordinator() -> ScriptedCoordinator:
    return ScriptedCoordinator()


@pytest.fixture
async def client(
    coordinator: ScriptedCoordinator, aiohttp_server: AiohttpServer
) -> AsyncIterator[Client]:
    app = web.Application()
    app.router.add_get("/api/projects/-/builds/{build}", coordinator.get_build)
    app.router.add_get("/api/steps/{step}/log", coordinator.get_log)
    server = await aiohttp_server(app)
    url = str(server.make_url("")).rstrip("/")
    async with Client(Connection(url=url, token=TOKEN)) as client:
        yield client


async def test_logs_are_followed_live_and_to_the_last_byte(
    coordinator: ScriptedCoordinator, client: Client
) -> None:
    witness = Witness()
    await coordinator.step("lint", "RUNNING")
    await coordinator.step("test", "BLOCKED", attempt=0)
    following = asyncio.create_task(follow_build(client, "b", witness))
    await coordinator.log("lint", b"one\n")
    await witness.grew.wait()
    assert witness.bytes_of == {("lint", 1): b"one\n"}, "shown while the step still runs"
    await coordinator.log("lint", b"two\n", last=True)
    await coordinator.step("lint", "SUCCESS")
    await coordinator.step("test", "RUNNING")
    await coordinator.step("test", "FAILED")
    await coordinator.finish("failed")
    await coordinator.log("test", b"late \xff\x00", last=True)
    assert (await following)["state"] == "failed"
    assert witness.bytes_of == {("lint", 1): b"one\ntwo\n", ("test", 1): b"late \xff\x00"}
    assert sorted(witness.ended) == [("lint", 1), ("test", 1)]
    assert ("lint", "SUCCESS") in witness.changes


async def test_a_log_longer_than_an_answer_is_read_whole(
    coordinator: ScriptedCoordinator, client: Client
) -> None:
    coordinator.slice_bytes = 7
    text = b"".join(b"line %d\n" % number for number in range(50))
    await coordinator.log("build", text, last=True)
    await coordinator.step("build", "SUCCESS")
    await coordinator.finish("succeeded")
    followed, read = Witness(), Witness()
    await follow_build(client, "b", followed)
    await read_whole_log(client, coordinator.steps["build"], read)
    assert followed.bytes_of == read.bytes_of == {("build", 1): text}


async def test_each_attempt_has_a_log_of_its_own(
    coordinator: ScriptedCoordinator, client: Client
) -> None:
    witness = Witness()
    await coordinator.step("flaky", "RUNNING", attempt=1)
    following = asyncio.create_task(follow_build(client, "b", witness))
    await coordinator.log("flaky", b"first", attempt=1, last=True)
    await witness.grew.wait()
    await coordinator.step("flaky", "RUNNING", attempt=2)
    await coordinator.log("flaky", b"second", attempt=2, last=True)
    await coordinator.step("flaky", "SUCCESS", attempt=2)
    await coordinator.finish("succeeded")
    await following
    assert witness.bytes_of == {("flaky", 1): b"first", ("flaky", 2): b"second"}


async def test_following_one_step_ends_with_that_step(
    coordinator: ScriptedCoordinator, client: Client
) -> None:
    witness = Witness()
    await coordinator.log("a", b"a", last=True)
    await coordinator.log("b", b"b")
    await coordinator.step("b", "RUNNING")
    await coordinator.step("a", "SUCCESS")
    build = await follow_build(client, "b", witness, only_step="id-a")
    assert build["state"] == "running"
    assert witness.bytes_of == {("a", 1): b"a"}


async def test_a_log_that_was_never_closed_does_not_hold_up_a_finished_build(
    coordinator: ScriptedCoordinator, client: Client
) -> None:
    witness = Witness()
    await coordinator.log("lost", b"cut off")
    await coordinator.step("lost", "FAILED", reason="lost")
    await coordinator.finish("failed")
    await follow_build(client, "b", witness)
    assert witness.bytes_of == {("lost", 1): b"cut off"}
    assert witness.ended == [("lost", 1)]


async def test_a_step_that_nobody_takes_says_what_it_waits_for_after_a_while(
    coordinator: ScriptedCoordinator, client: Client
) -> None:
    witness = Witness()
    await coordinator.step("a", "READY", attempt=0, waitsFor="no agent is connected")
    await coordinator.step("b", "BLOCKED", attempt=0, waitsFor="waits for a")
    following = asyncio.create_task(follow_build(client, "b", witness))
    await coordinator.let_time_pass()
    await witness.grew.wait()
    await coordinator.finish("cancelled")
    await following
    assert witness.waits == [("a", "no agent is connected")]


async def test_a_coordinator_that_restarts_is_waited_for(
    coordinator: ScriptedCoordinator, client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    patience = Patience(retry_seconds=0.01)
    witness = Witness()
    await coordinator.log("a", b"all", last=True)
    await coordinator.step("a", "SUCCESS")
    await coordinator.finish("succeeded")
    coordinator.failing = 3
    finished = await follow_build(client, "b", witness, patience=patience)
    assert finished["state"] == "succeeded"
    assert witness.bytes_of == {("a", 1): b"all"}
    assert capsys.readouterr().err.count("restarting; trying again") == 1


async def test_a_coordinator_that_stays_away_is_an_error(
    coordinator: ScriptedCoordinator, client: Client
) -> None:
    patience = Patience(away_seconds=0.0, retry_seconds=0.0)
    coordinator.failing = 10**9
    with pytest.raises(BaseExceptionGroup) as failure:
        await follow_build(client, "b", Witness(), patience=patience)
    assert failure.group_contains(UnreachableError, match="restarting")


async def test_errors_are_sorted_by_what_can_be_done(
    client: Client, aiohttp_server: AiohttpServer
) -> None:
    with pytest.raises(NotFoundError, match="no log yet"):
        await client.read_log("id-none", offset=0)
    with pytest.raises(NotFoundError, match="is it a coordinator"):
        await client.tokens()
    async with Client(Connection(url=client.url, token="wrong")) as stranger:
        with pytest.raises(UnauthorizedError, match=r"unknown token \(choose another by"):
            await stranger.build("b")
    page = web.Application()
    page.router.add_get("/{any:.*}", _html)
    server = await aiohttp_server(page)
    async with Client(Connection(url=str(server.make_url("")).rstrip("/"), token=TOKEN)) as other:
        with pytest.raises(ProtocolError, match="does not answer as a coordinator"):
            await other.build("b")
        await server.close()
        with pytest.raises(UnreachableError, match="start one with `pushrod up`"):
            await other.build("b")


async def _html(_request: web.Request) -> web.Response:
    return web.Response(text="<html>hello</html>", content_type="text/html")
