"""Agents that are at a coordinator which does not lead."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
import pytest

from coordinator.peers import desk, to_homes
from coordinator.peers.home_life import HomeLife
from coordinator.storage.postgresql import PostgresPlace
from coordinator.storage.soundness import DatabaseUnusable
from coordinator.storage.trouble import DatabaseTrouble, Trouble
from pipelines_schema.contract import FOR_AGENTS_ALONE
from tests.integration.coordinator_fixture import (
    AgentCaller,
    Answer,
    Coordinator,
    eventually,
    step_of,
)
from tests.integration.two_coordinators import Two, two_coordinators
from tests.postgres_server import PostgresServer
from tests.s3_server import S3Server

OWN = {"Connection": f"keep-alive, {FOR_AGENTS_ALONE}", "Content-Type": "application/json"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    two: Two
    server: PostgresServer
    database: PostgresPlace
    session: aiohttp.ClientSession
    passed_on: list[str] = field(default_factory=list)
    """Paths of what the other one had the leader answer."""

    @property
    def leader(self) -> Coordinator:
        return self.two.leader

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return self.server.execute(query, self.database.name)

    def home_of(self, agent: AgentCaller) -> str | None:
        [(home,)] = self.rows(f"SELECT home FROM agents WHERE id = '{agent.agent_id}'")
        return None if home is None else str(home)

    async def new_agent(self, at: Coordinator | None = None) -> OwnAgent:
        """One that asks at the other coordinator, by connections of its own."""
        made = await self.leader.admin.new_agent()
        return OwnAgent(at or self.two.other, made.token, made.agent_id, self.session)

    async def new_build(self, *steps: dict[str, Any]) -> dict[str, Any]:
        project = await self.leader.admin.new_project(name="homes")
        return await self.leader.admin.new_build(project, *steps)

    async def has_ended(self, build: dict[str, Any], status: str) -> None:
        async def look() -> bool:
            return bool((await self.leader.admin.build(build["id"]))["status"] == status)

        await eventually(look)


@dataclass(frozen=True, slots=True)
class OwnAgent(AgentCaller):
    session: aiohttp.ClientSession

    async def post(self, path: str, body: object = None) -> Answer:
        url = self.coordinator.url + path
        headers = {**OWN, "Authorization": f"Bearer {self.token}"}
        data = json.dumps({} if body is None else body)
        async with self.session.post(url, data=data, headers=headers) as response:
            return Answer(
                status=response.status,
                headers=response.headers.copy(),
                body=await response.read(),
                call=("POST", path),
            )


@pytest.fixture
async def home(
    postgres_server: PostgresServer,
    s3_server: S3Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Home]:
    database, passed_on = postgres_server.new_database(), list[str]()
    answer_of_leader = desk.answer_of_leader

    async def counted(request: Any, *arguments: Any) -> Any:
        passed_on.append(request.path)
        return await answer_of_leader(request, *arguments)

    monkeypatch.setattr(desk, "answer_of_leader", counted)
    short = {"lease_seconds": 6.0, "accept_seconds": 3.0, "poll_hold_seconds": 12.0}
    async with (
        two_coordinators(database, s3_server, tmp_path, monkeypatch, **short) as two,
        aiohttp.ClientSession() as session,
    ):
        # Which the fixture's agent has: it must not be handed out once more.
        (await two.agent.complete(two.spec)).expect(200)
        yield Home(
            two=two,
            server=postgres_server,
            database=database,
            session=session,
            passed_on=passed_on,
        )
    postgres_server.drop(database)


async def test_a_build_is_run_by_agents_that_ask_there(home: Home) -> None:
    """The leader is asked for nothing, and knows all of it."""
    build = await home.new_build(step_of("a"), step_of("b", "a"), step_of("c", "b"))
    agent = await home.new_agent()
    spec: dict[str, Any] | None = await agent.take()
    names = []
    while spec is not None:
        names.append(spec["name"])
        done = await agent.complete(spec, next={"instance": "one"})
        spec = done.expect(200).json.get("next")
    assert names == ["a", "b", "c"]
    assert home.passed_on == []
    assert home.home_of(agent) not in (None, home.home_of(home.two.agent))
    await home.has_ended(build, "SUCCESS")
    numbers = (await home.leader.admin.get("/metrics")).text
    assert 'pushrod_attempts_total{outcome="succeeded"} 4.0' in numbers


async def test_what_comes_while_it_polls_is_given_at_once(home: Home) -> None:
    agent = await home.new_agent()
    polling = asyncio.create_task(agent.poll())
    await eventually(_is_online(home, agent))
    build = await home.new_build(step_of("a"))
    [offer] = (await asyncio.wait_for(polling, 6))["offers"]
    spec = (await agent.accept(offer)).expect(200).json
    (await agent.complete(spec)).expect(200)
    await home.has_ended(build, "SUCCESS")


def _is_online(home: Home, agent: AgentCaller) -> Any:
    async def look() -> bool:
        shown = await home.leader.admin.get(f"/api/agents/{agent.agent_id}")
        return bool(shown.expect(200).json["online"])

    return look


async def test_a_cancel_reaches_the_agent(home: Home) -> None:
    build, agent = await home.new_build(step_of("a")), await home.new_agent()
    spec = await agent.take()
    lease = {"stepId": spec["stepId"], "epoch": spec["epoch"]}
    polling = asyncio.create_task(agent.poll(free=0, leases=[lease]))
    await asyncio.sleep(0.2)
    (await home.leader.admin.post(f"/api/projects/-/builds/{build['id']}/cancel")).expect(200)
    assert (await asyncio.wait_for(polling, 6))["cancels"] == [lease]
    (await agent.complete(spec, status="failed", exitCode=1)).expect(200)
    await home.has_ended(build, "FAILED")


async def test_a_paused_agent_is_given_nothing(home: Home) -> None:
    agent = await home.new_agent()
    polling = asyncio.create_task(agent.poll())
    await eventually(_is_online(home, agent))
    (await home.leader.admin.post(f"/api/agents/{agent.agent_id}/pause")).expect(200)
    build = await home.new_build(step_of("a"))
    assert (await polling)["offers"] == []
    (await home.leader.admin.post(f"/api/agents/{agent.agent_id}/resume")).expect(200)
    (await agent.complete(await agent.take())).expect(200)
    await home.has_ended(build, "SUCCESS")


async def test_a_removed_agent_is_let_in_no_more(home: Home) -> None:
    agent = await home.new_agent()
    polling = asyncio.create_task(agent.post("/api/agents/poll", {"free": 1}))
    await eventually(_is_online(home, agent))
    (await home.leader.admin.call("DELETE", f"/api/agents/{agent.agent_id}")).expect(204)
    await asyncio.wait_for(polling, 6)

    async def is_refused() -> bool:
        return (await agent.post("/api/agents/poll", {"free": 1})).status == 401

    await eventually(is_refused)


async def test_a_step_of_a_silent_agent_is_begun_again(home: Home) -> None:
    build, silent = await home.new_build(step_of("a")), await home.new_agent()
    first = await silent.take()
    other = await home.new_agent()
    second = await other.take()
    assert (second["stepId"], second["epoch"]) == (first["stepId"], first["epoch"] + 1)
    late = await silent.complete(first)
    assert late.status == 409
    assert late.json["stale"]
    (await other.complete(second)).expect(200)
    await home.has_ended(build, "SUCCESS")


async def test_what_follows_from_a_silent_agent_is_for_the_leader(home: Home) -> None:
    """As that others are told of the end of its build: its step was to be cancelled."""
    build, silent = await home.new_build(step_of("a")), await home.new_agent()
    spec = await silent.take()
    home.rows(f"UPDATE steps SET cancel_requested_by = 'me' WHERE id = '{spec['stepId']}'")
    home.rows(f"UPDATE builds SET tells = true WHERE id = '{build['id']}'")
    await home.has_ended(build, "FAILED")


async def test_who_asks_the_leader_is_answered_by_its_home(home: Home) -> None:
    """Its lease goes on there, and it stays where it is."""
    build, agent = await home.new_build(step_of("a")), await home.new_agent()
    spec = await agent.take()
    lease = {"stepId": spec["stepId"], "epoch": spec["epoch"]}
    at_the_leader = OwnAgent(home.leader, agent.token, agent.agent_id, home.session)
    before = home.home_of(agent)
    for _ in range(4):
        renewed = await at_the_leader.post("/api/agents/renew", {"leases": [lease]})
        assert renewed.expect(200).json["lost"] == []
        await asyncio.sleep(2)
    assert home.home_of(agent) == before
    (await at_the_leader.complete(spec)).expect(200)
    await home.has_ended(build, "SUCCESS")


async def test_what_goes_further_is_for_the_leader(home: Home) -> None:
    """As that others are to be told of the build's begin and end."""
    build, agent = await home.new_build(step_of("a")), await home.new_agent()
    home.rows(f"UPDATE builds SET tells = true WHERE id = '{build['id']}'")
    (await agent.complete(await agent.take())).expect(200)
    assert [path.rpartition("/")[2] for path in home.passed_on] == ["accept", "complete"]
    await home.has_ended(build, "SUCCESS")


async def test_an_offer_of_a_poll_that_broke_off_goes_to_another(home: Home) -> None:
    gone, other = await home.new_agent(), await home.new_agent(home.leader)
    polling = asyncio.create_task(gone.poll())
    await eventually(_is_online(home, gone))
    polling.cancel()
    build = await home.new_build(step_of("a"))
    (await other.complete(await other.take())).expect(200)
    await home.has_ended(build, "SUCCESS")


async def test_by_a_proxy_comes_one_request_by_a_connection(home: Home) -> None:
    """It takes the word out by which an agent says that nothing else comes."""
    build, agent = await home.new_build(step_of("a")), await home.new_agent()
    body = b'{"free":1}'
    head = (
        f"POST /api/agents/poll HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {agent.token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    answer = await home.two.other.exchange(head.encode() + body)
    assert b"\r\nConnection: close\r\n" in answer
    [offer] = json.loads(answer.partition(b"\r\n\r\n")[2])["offers"]
    assert home.home_of(agent) != home.home_of(home.two.agent)
    (await agent.complete((await agent.accept(offer)).expect(200).json)).expect(200)
    await home.has_ended(build, "SUCCESS")


async def test_a_database_in_trouble_is_told_by_whoever_looks_for_the_home(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = await home.new_agent(home.leader)

    async def away(*_: object) -> str | None:
        raise DatabaseTrouble(Trouble.DATABASE_AWAY)

    with monkeypatch.context() as patched:
        patched.setattr(to_homes.stored, "home_of", away)
        answer = await agent.post("/api/agents/poll", {"free": 1})
    assert answer.status == 503
    assert "database" in answer.json["error"]
    await agent.renew()


async def test_a_first_look_that_finds_no_database_is_told_in_words() -> None:
    place = PostgresPlace(url="postgresql://pushrod@127.0.0.1:1/nothing")
    nobody = cast("Any", SimpleNamespace(here=list))
    life = HomeLife(place, "home", "127.0.0.1:2", nobody, leads=False)
    with pytest.raises(DatabaseUnusable, match="no PostgreSQL answers"):
        await life.first_look()
    await life.leave()
