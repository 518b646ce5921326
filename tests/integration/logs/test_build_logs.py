"""A build's log over HTTP and WebSocket: whole, live, resumed, filtered."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from pipelines_schema.log_frames import CONTENT_TYPE, Frame, Stream, encode
from tests.integration.coordinator_fixture import (
    PATIENCE_SECONDS,
    AgentCaller,
    Caller,
    Coordinator,
    new_work_tree,
    note_answer,
    step_of,
)
from tests.integration.execution_fixture import (
    Tenant,
    assert_envelope,
    new_chain,
    new_member,
)


@pytest.fixture
async def project(admin: Caller) -> dict[str, Any]:
    return await new_chain(admin, "one", "two")


@pytest.fixture
async def developer(admin: Caller, project: dict[str, Any]) -> Tenant:
    return await new_member(admin, "developer")


@pytest.fixture
async def agent(admin: Caller) -> AgentCaller:
    return await admin.new_agent()


async def say(
    agent: AgentCaller, spec: dict[str, Any], offset: int, *frames: tuple[Stream, int, bytes]
) -> int:
    """Append frames of (stream, time in ms, text); the new size."""
    body = encode(Frame(stream=s, time_ms=t, data=data) for s, t, data in frames)
    answer = await agent.call(
        "PATCH",
        f"/api/runner/{spec['stepId']}/log?epoch={spec['epoch']}",
        data=body,
        headers={"Upload-Offset": str(offset), "Content-Type": CONTENT_TYPE},
    )
    answer.expect(204)
    return offset + sum(len(data) for _, _, data in frames)


def messages(logs: list[dict[str, Any]]) -> list[str]:
    return [one["message"] for one in logs]


def own(logs: list[dict[str, Any]]) -> list[str]:
    """What the steps themselves wrote."""
    return [one["message"] for one in logs if "event" not in one["metadata"]]


@asynccontextmanager
async def streamed(
    tenant: Tenant, build: dict[str, Any], query: str = "", **options: Any
) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    headers = {"Authorization": f"Bearer {tenant.token}", "X-Tenant-ID": tenant.tenant or ""}
    url = f"{tenant.coordinator.url}/api/v1/builds/{build['id']}/logs/stream{query}"
    options.setdefault("headers", headers)
    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        tenant.coordinator.session.ws_connect(url, **options) as socket,
    ):
        note_answer("GET", URL(url).path, 101)
        yield socket


async def to_the_end(socket: aiohttp.ClientWebSocketResponse) -> list[dict[str, Any]]:
    received = [json.loads(message.data) async for message in socket]
    assert socket.close_code == 1000
    return received


async def next_of(socket: aiohttp.ClientWebSocketResponse) -> dict[str, Any]:
    return dict(json.loads(await socket.receive_str()))


async def test_messages_have_the_documents_members(
    developer: Tenant, project: dict[str, Any], agent: AgentCaller
) -> None:
    build = await developer.started(project)
    spec = await agent.take()
    await say(agent, spec, 0, (Stream.STDOUT, 1000, b"hi\n"), (Stream.STDERR, 2000, b"oh\n"))
    page = await developer.logs(build)
    assert (page["build_id"], page["status"]) == (build["id"], "in_progress")
    assert (page["has_more"], page["complete"]) == (False, False)
    metadata = {"step": "one", "attempt": "1", "stream": "stdout", "cursor": "1:0:3"}
    metadata["container"] = "base"
    assert page["logs"][0] == {
        "build_id": build["id"],
        "timestamp": "1970-01-01T00:00:01.000Z",
        "level": "INFO",
        "message": "hi",
        "metadata": metadata,
    }
    assert page["logs"][1]["level"] == "WARN"
    assert page["next_cursor"] == page["logs"][1]["metadata"]["cursor"]


async def test_the_log_of_a_finished_build_is_whole_in_pages_of_any_size(
    developer: Tenant, project: dict[str, Any], agent: AgentCaller
) -> None:
    build = await developer.started(project)
    for name in ("one", "two"):
        spec = await agent.take()
        time_ms = int(time.time() * 1000)
        for n in range(30):
            text = f"{name} {n}\n".encode()
            offset = sum(len(f"{name} {k}\n") for k in range(n))
            await say(agent, spec, offset, (Stream.STDOUT, time_ms, text))
        (await agent.complete(spec)).expect(200)
    whole = await developer.logs(build, "?limit=1000")
    assert whole["complete"] is True
    expected = [f"{name} {n}" for name in ("one", "two") for n in range(30)]
    assert own(whole["logs"]) == expected
    ends = [one["message"] for one in whole["logs"] if "event" in one["metadata"]]
    assert ends == ["step one succeeded", "step two succeeded", "build succeeded"]
    for limit in (1, 7, 63, 64):
        collected: list[dict[str, Any]] = []
        cursor = "0"
        while True:
            page = await developer.logs(build, f"?limit={limit}&since={cursor}")
            assert len(page["logs"]) <= limit
            collected += page["logs"]
            cursor = page["next_cursor"]
            if page["complete"]:
                break
        assert messages(collected) == messages(whole["logs"]), limit
    after = await developer.logs(build, f"?since={whole['next_cursor']}")
    assert (after["logs"], after["complete"]) == ([], True)


async def test_going_on_after_any_message_gives_the_rest(
    developer: Tenant, project: dict[str, Any], agent: AgentCaller
) -> None:
    build = await developer.started(project)
    for _ in range(2):
        spec = await agent.take()
        await say(agent, spec, 0, (Stream.STDOUT, 5, b"a\nb\n"), (Stream.STDERR, 6, b"c"))
        (await agent.complete(spec)).expect(200)
    whole = (await developer.logs(build))["logs"]
    assert len(whole) == 9
    for index, one in enumerate(whole):
        rest = await developer.logs(build, f"?since={one['metadata']['cursor']}")
        assert messages(rest["logs"]) == messages(whole[index + 1 :])
        async with streamed(developer, build, f"?since={one['metadata']['cursor']}") as socket:
            assert messages(await to_the_end(socket)) == messages(whole[index + 1 :])


async def test_steps_that_run_together_are_mixed_by_time(
    admin: Caller, developer: Tenant, agent: AgentCaller
) -> None:
    project = await admin.new_project(name="parallel")
    await admin.new_workflow(project, step_of("left"), step_of("right"))
    build = await developer.started(project)
    specs = {}
    for _ in range(2):
        spec = await agent.take()
        specs[spec["name"]] = spec
    await say(agent, specs["left"], 0, (Stream.STDOUT, 10, b"1\n"), (Stream.STDOUT, 30, b"3\n"))
    await say(agent, specs["right"], 0, (Stream.STDOUT, 20, b"2\n"), (Stream.STDOUT, 40, b"4\n"))
    page = await developer.logs(build)
    assert messages(page["logs"]) == ["1", "2", "3", "4"]
    assert [one["metadata"]["step"] for one in page["logs"]] == ["left", "right"] * 2
    for n in (1, 2, 3):
        rest = await developer.logs(build, f"?since={page['logs'][n - 1]['metadata']['cursor']}")
        assert messages(rest["logs"]) == ["1", "2", "3", "4"][n:]


async def test_a_long_log_comes_through_every_way_alike(
    developer: Tenant, project: dict[str, Any], agent: AgentCaller
) -> None:
    build = await developer.started(project)
    spec = await agent.take()
    lines = [f"{n} " + "x" * (n % 3000) for n in range(1500)]
    text = "".join(line + "\n" for line in lines).encode()
    for at in range(0, len(text), 500_000):
        (await agent.append(spec, at, text[at : at + 500_000])).expect(204)
    (await agent.complete(spec)).expect(200)
    (await agent.complete(await agent.take())).expect(200)
    async with streamed(developer, build) as socket:
        assert own(await to_the_end(socket)) == lines
    followed = await developer.v1("GET", f"/builds/{build['id']}/logs?follow=true")
    assert followed.headers["Content-Type"].startswith("application/x-ndjson")
    assert own([json.loads(line) for line in followed.text.splitlines()]) == lines


async def test_messages_are_filtered(
    developer: Tenant, project: dict[str, Any], agent: AgentCaller
) -> None:
    build = await developer.started(project)
    spec = await agent.take()
    await say(agent, spec, 0, (Stream.STDOUT, 1000, b"a\n"), (Stream.STDERR, 2000, b"b\n"))
    (await agent.complete(spec, status="failed", exitCode=3)).expect(200)

    async def filtered(query: str) -> list[str]:
        return messages((await developer.logs(build, f"?{query}"))["logs"])

    assert await filtered("level=WARN") == ["b"]
    failed = await filtered("level=error")
    assert len(failed) == 2
    assert failed[0].startswith("step one failed: exit code 3")
    assert (await filtered("level=INFO,WARN&step=one")) == ["a", "b"]
    assert (await filtered("step=two"))[0].startswith("step two was skipped")
    assert await filtered("level=DEBUG") == []
    later = await filtered("since=1970-01-01T00:00:02Z")
    assert later[0] == "b"
    assert (await filtered("since=2999-01-01T00:00:00%2B01:00")) == []
    async with streamed(developer, build, "?level=WARN") as socket:
        assert messages(await to_the_end(socket)) == ["b"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("level=LOUD", "level[0]"),
        ("step=three", "step"),
        ("since=yesterday", "since"),
        ("since=2026-01-31T08:15:00", "since"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("follow=perhaps", "follow"),
        ("tail=5", "tail"),
    ],
)
async def test_a_wrong_query_is_told(
    developer: Tenant, project: dict[str, Any], query: str, field: str
) -> None:
    build = await developer.create(project)
    answer = await developer.v1("GET", f"/builds/{build['id']}/logs?{query}")
    assert list(assert_envelope(answer, 400, "INVALID_REQUEST")["details"]) == [field]
    if query.partition("=")[0] in ("level", "step", "since"):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with streamed(developer, build, f"?{query}"):
                pass
        assert refused.value.status == 400


async def test_the_mistakes_of_a_workflow_are_in_the_builds_log(
    admin: Caller, developer: Tenant, tmp_path: Path
) -> None:
    project = await admin.new_project(name="broken")
    tree = await new_work_tree(tmp_path, admin, project)
    await tree.commit({".pushrod.yml": "on: {push: {}}\nsteps: [{name: a, image: x, runn: y}]\n"})
    await tree.push()
    [build] = await admin.builds(project)
    page = await developer.logs(build)
    assert page["complete"] is True
    assert page["logs"][0]["message"].startswith(".pushrod.yml:2:")
    assert {one["level"] for one in page["logs"]} == {"ERROR"}
    for one in page["logs"]:
        rest = await developer.logs(build, f"?since={one['metadata']['cursor']}")
        assert (
            messages(rest["logs"])
            == messages(page["logs"])[messages(page["logs"]).index(one["message"]) + 1 :]
        )


async def test_a_step_tried_again_has_both_tries_in_the_log(
    admin: Caller, developer: Tenant, agent: AgentCaller, tmp_path: Path
) -> None:
    project = await admin.new_project(name="again")
    tree = await new_work_tree(tmp_path, admin, project)
    retried = (
        "on: {push: {}}\nsteps: [{name: a, image: x, run: y, retries: {max: 1, on: [failure]}}]"
    )
    await tree.commit({".pushrod.yml": retried})
    await tree.push()
    [build] = await admin.builds(project)
    async with streamed(developer, build) as socket:
        spec = await agent.take()
        await say(agent, spec, 0, (Stream.STDOUT, 1, b"first"))
        (await agent.complete(spec, status="failed", exitCode=1)).expect(200)
        first = await next_of(socket)
        assert (first["message"], first["metadata"]["attempt"]) == ("first", "1")
        spec = await agent.take()
        await say(agent, spec, 0, (Stream.STDOUT, 2, b"second\n"))
        second = await next_of(socket)
        assert (second["message"], second["metadata"]["attempt"]) == ("second", "2")
        (await agent.complete(spec)).expect(200)
        assert messages(await to_the_end(socket)) == ["step a succeeded", "build succeeded"]


# The WebSocket


async def test_lines_are_streamed_as_they_come_until_the_build_ends(
    developer: Tenant, project: dict[str, Any], agent: AgentCaller
) -> None:
    build = await developer.create(project)
    async with streamed(developer, build) as socket:
        await developer.start(build)
        spec = await agent.take()
        end = await say(agent, spec, 0, (Stream.STDOUT, 1, b"hello\nhalf"))
        assert (await next_of(socket))["message"] == "hello"
        await say(agent, spec, end, (Stream.STDOUT, 2, b" and half\n"))
        assert (await next_of(socket))["message"] == "half and half"
        (await agent.complete(spec)).expect(200)
        assert (await next_of(socket))["message"] == "step one succeeded"
        (await agent.complete(await agent.take())).expect(200)
        rest = await to_the_end(socket)
    assert messages(rest) == ["step two succeeded", "build succeeded"]


async def test_ndjson_is_followed_live(
    developer: Tenant, project: dict[str, Any], agent: AgentCaller
) -> None:
    build = await developer.started(project)
    spec = await agent.take()
    url = f"{developer.coordinator.url}/api/v1/builds/{build['id']}/logs?follow=true"
    headers = {"Authorization": f"Bearer {developer.token}", "X-Tenant-ID": developer.tenant or ""}
    async with developer.coordinator.session.get(url, headers=headers) as response:
        await say(agent, spec, 0, (Stream.STDOUT, 1, b"hello\n"))
        assert json.loads(await response.content.readline())["message"] == "hello"
        (await developer.v1("POST", f"/builds/{build['id']}/cancel")).expect(200)
        (await agent.complete(spec, status="failed", reason="cancelled")).expect(200)
        rest = [json.loads(line) async for line in response.content]
    assert rest[-1]["message"].startswith("build was cancelled")


async def test_a_connection_that_breaks_is_taken_up_again_without_loss_or_repeat(
    developer: Tenant, project: dict[str, Any], agent: AgentCaller
) -> None:
    build = await developer.started(project)
    received: list[str] = []
    cursor, offset = "0", 0
    spec = await agent.take()
    for n in range(6):
        async with streamed(developer, build, f"?since={cursor}") as socket:
            text = f"line {n}\n".encode()
            offset = await say(agent, spec, offset, (Stream.STDOUT, n, text))
            one = await next_of(socket)
            received.append(one["message"])
            cursor = one["metadata"]["cursor"]
            if n == 3:
                await developer.coordinator.restart()
    assert received == [f"line {n}" for n in range(6)]


async def test_a_browser_gives_token_and_tenant_as_subprotocols(
    developer: Tenant, project: dict[str, Any]
) -> None:
    build = await developer.create(project)
    offered = ["pushrod.logs", f"bearer.{developer.token}", f"tenant.{developer.tenant}"]
    async with streamed(developer, build, headers={}, protocols=offered) as socket:
        assert socket.protocol == "pushrod.logs", "the token is not sent back"
    for wrong in (offered[:2], ["pushrod.logs", "bearer.wrong", offered[2]], offered[:1]):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with streamed(developer, build, headers={}, protocols=wrong):
                pass
        assert refused.value.status in (400, 401)


async def test_another_sites_page_can_not_use_a_session(
    coordinator: Coordinator, admin: Caller, developer: Tenant, project: dict[str, Any]
) -> None:
    build = await developer.create(project)
    answer = await coordinator.nobody.call(
        "POST",
        "/login",
        data=f"token={admin.token}",
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    cookie = answer.headers["Set-Cookie"].partition(";")[0]
    offered = ["pushrod.logs", f"tenant.{developer.tenant}"]
    for origin, status in ((None, 403), ("http://evil.example", 403), (coordinator.url, 101)):
        headers = {"Cookie": cookie} | ({"Origin": origin} if origin else {})
        opened = streamed(developer, build, headers=headers, protocols=offered)
        if status == 101:
            async with opened as socket:
                assert not socket.closed
            continue
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with opened:
                pass
        assert refused.value.status == status


async def test_without_an_upgrade_the_stream_says_what_it_is(
    developer: Tenant, project: dict[str, Any]
) -> None:
    build = await developer.create(project)
    answer = await developer.v1("GET", f"/builds/{build['id']}/logs/stream")
    assert "WebSocket" in assert_envelope(answer, 400, "INVALID_REQUEST")["error"]


async def test_a_stream_ends_with_the_build_when_that_is_deleted(
    admin: Caller, developer: Tenant, project: dict[str, Any], agent: AgentCaller
) -> None:
    """Only a slow reader can still be at it: it is told, not left waiting."""
    build = await developer.started(project)
    spec = await agent.take()
    text = (b"x" * 1000 + b"\n") * 20_000
    for at in range(0, len(text), 1_000_000):
        (await agent.append(spec, at, text[at : at + 1_000_000])).expect(204)
    (await agent.complete(spec, status="failed")).expect(200)
    async with streamed(developer, build) as socket:
        assert (await next_of(socket))["message"] == "x" * 1000
        root = Tenant(developer.coordinator, admin.token, developer.tenant)
        (await root.v1("DELETE", f"/builds/{build['id']}")).expect(204)
        async for _ in socket:
            pass
        assert socket.close_code == 1008


async def test_a_stream_ends_when_its_token_does(
    admin: Caller, developer: Tenant, project: dict[str, Any], agent: AgentCaller
) -> None:
    build = await developer.started(project)
    spec = await agent.take()
    async with streamed(developer, build) as socket:
        users = (await admin.get("/api/users")).json
        body = {"disabled": True}
        (await admin.call("PATCH", f"/api/users/{users[0]['id']}", json=body)).expect(200)
        await say(agent, spec, 0, (Stream.STDOUT, 1, b"not for you\n"))
        message = await socket.receive()
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1008)


async def test_a_reader_that_takes_nothing_holds_up_nobody(
    developer: Tenant, project: dict[str, Any], agent: AgentCaller
) -> None:
    build = await developer.started(project)
    spec = await agent.take()
    async with streamed(developer, build) as slow, streamed(developer, build) as quick:
        text = (b"x" * 1000 + b"\n") * 10_000
        for at in range(0, len(text), 1_000_000):
            (await agent.append(spec, at, text[at : at + 1_000_000])).expect(204)
        (await agent.complete(spec)).expect(200)
        (await agent.complete(await agent.take())).expect(200)
        assert len(await to_the_end(quick)) == 10_003
        assert len(await to_the_end(slow)) == 10_003


async def test_what_a_client_says_means_nothing_and_too_much_of_it_ends_the_stream(
    developer: Tenant, project: dict[str, Any], agent: AgentCaller
) -> None:
    build = await developer.started(project)
    spec = await agent.take()
    async with streamed(developer, build) as socket:
        await socket.send_str("hello?")
        await socket.ping()
        await say(agent, spec, 0, (Stream.STDOUT, 1, b"hello\n"))
        assert (await next_of(socket))["message"] == "hello"
        await socket.send_str("x" * 5000)
        message = await socket.receive()
        assert message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)
