"""Outputs in batches, to a real coordinator over HTTP."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.integration.coordinator_fixture import (
    AgentCaller,
    Answer,
    Caller,
    Coordinator,
    open_coordinator,
    step_of,
)

pytestmark = pytest.mark.usefixtures("each_database")

Spec = Mapping[str, Any]


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with open_coordinator(tmp_path) as coordinator:
        yield coordinator


@pytest.fixture
def admin(coordinator: Coordinator) -> Caller:
    return coordinator.admin


async def running(admin: Caller) -> tuple[AgentCaller, Spec]:
    """An agent and the step that it runs; another one depends on it."""
    agent = await admin.new_agent()
    await admin.new_build(await admin.new_project(), step_of("a"), step_of("b", "a"))
    return agent, await agent.take()


def described(name: str, content: bytes, **more: Any) -> dict[str, Any]:
    sha256 = hashlib.sha256(content).hexdigest()
    return {"name": name, "size": len(content), "sha256": sha256, **more}


async def send(caller: Caller, spec: Spec, contents: bytes = b"", **head: Any) -> Answer:
    path = f"/api/runner/{spec['stepId']}/artifacts?epoch={spec['epoch']}"
    return await caller.call("POST", path, data=json.dumps(head).encode() + b"\n" + contents)


async def fetch(caller: Caller, spec: Spec, of: str, *names: str) -> Answer:
    path = f"/api/runner/{spec['stepId']}/inputs?epoch={spec['epoch']}"
    return await caller.post(path, {"stepId": of, "names": list(names)})


async def test_a_batch_is_what_the_next_step_gets(admin: Caller) -> None:
    agent, first = await running(admin)
    assert first["batches"]
    files = [described("o/x", b"one", mode=0o640, modified=981173106), described("o/y", b"")]
    links = [{"name": "o/l", "target": "/etc"}, {"name": "l", "target": "ünï\n"}]
    folders = [{"name": "o/e", "mode": 0o700}, {"name": "o", "mode": 0o755}]
    (await send(agent, first, b"one", files=files)).expect(204)
    (await send(agent, first, links=links, folders=folders)).expect(204)
    (await agent.complete(first)).expect(200)

    second = await agent.take()
    [dependency] = second["dependencies"]
    shown = [{k: v for k, v in one.items() if k != "url"} for one in dependency["artifacts"]]
    assert shown == [files[0], {**files[1], "mode": 0o644}]
    assert dependency["links"] == sorted(links, key=lambda link: link["name"])
    assert dependency["folders"] == folders[::-1]
    answer = await fetch(agent, second, first["stepId"], "o/y", "o/x", "o/x")
    assert answer.expect(200).body == b"oneone"
    seen = (await admin.get(f"/api/steps/{first['stepId']}/outputs")).expect(200).json
    assert seen == {"links": dependency["links"], "folders": dependency["folders"]}


async def test_a_batch_that_is_sent_again_replaces(admin: Caller) -> None:
    agent, spec = await running(admin)
    for content, target in ((b"first", "a"), (b"2", "b")):
        files, links = [described("x", content)], [{"name": "l", "target": target}]
        (await send(agent, spec, content, files=files, links=links)).expect(204)
    (await agent.complete(spec)).expect(200)
    path = f"/api/steps/{spec['stepId']}"
    assert (await admin.get(f"{path}/artifacts/x")).body == b"2"
    assert (await admin.get(f"{path}/outputs")).json["links"] == [{"name": "l", "target": "b"}]


async def test_a_batch_that_is_sent_again_counts_once_against_what_may_be_stored(
    tmp_path: Path,
) -> None:
    """Its answer may have been lost."""
    async with open_coordinator(tmp_path, project_max_stored_bytes=100) as coordinator:
        agent, spec = await running(coordinator.admin)
        first, more = described("x", b"x" * 60), described("y", b"y" * 41)
        for _ in range(2):
            (await send(agent, spec, b"x" * 60, files=[first])).expect(204)
        refused = await send(agent, spec, b"y" * 41, files=[more])
        assert "project_max_stored_bytes" in refused.expect(413).text
        both = await send(agent, spec, b"x" * 60 + b"y" * 41, files=[first, more])
        assert "project_max_stored_bytes" in both.expect(413).text


X = described("x", b"x")


@pytest.mark.parametrize(
    ("contents", "head"),
    [
        (b"y", {"files": [X]}),
        (b"", {"files": [X]}),
        (b"xx", {"files": [X]}),
        (b"xx", {"files": [X, X]}),
        (b"x", {"files": [X], "links": [{"name": "x", "target": "y"}]}),
        (b"x", {"files": [{**X, "name": "../x"}]}),
        (b"x", {"files": [{**X, "mode": 0o4755}]}),
        (b"x", {"files": [{**X, "sha256": "x"}]}),
        (b"", {"links": [{"name": "/l", "target": "y"}]}),
        (b"", {"links": [{"name": "l", "target": ""}]}),
        (b"", {"links": [{"name": "l", "target": "a\0b"}]}),
        (b"", {"links": [{"name": "l", "target": "\ud800"}]}),
        (b"", {"links": [{"name": "l", "target": "x" * 4097}]}),
        (b"", {"folders": [{"name": "a//b"}]}),
        (b"", {"folders": [{"name": "a\nb"}]}),
        (b"", {"folders": [{"name": str(number)} for number in range(1001)]}),
    ],
)
async def test_a_bad_batch_is_refused_as_a_whole(
    admin: Caller, contents: bytes, head: dict[str, Any]
) -> None:
    agent, spec = await running(admin)
    good = {"links": [{"name": "good", "target": "x"}]}
    answer = await send(agent, spec, contents, **{**good, **head})
    assert answer.status == 400, answer.text
    assert answer.json["error"]
    (await agent.complete(spec)).expect(200)
    path = f"/api/steps/{spec['stepId']}"
    assert (await admin.get(f"{path}/artifacts")).json == []
    assert (await admin.get(f"{path}/outputs")).json == {"links": [], "folders": []}


@pytest.mark.parametrize("body", [b"", b"x", b"{", b"[]\n", b"\xff\n", b'{"files": 1}\n'])
async def test_what_is_no_batch_is_refused(admin: Caller, body: bytes) -> None:
    agent, spec = await running(admin)
    path = f"/api/runner/{spec['stepId']}/artifacts?epoch={spec['epoch']}"
    assert (await agent.call("POST", path, data=body)).status == 400


async def test_an_attempt_that_has_ended_takes_no_batch(admin: Caller) -> None:
    agent, spec = await running(admin)
    (await agent.complete(spec)).expect(200)
    answer = await send(agent, spec, links=[{"name": "l", "target": "x"}])
    assert (answer.status, answer.json["stale"]) == (409, True)


async def test_only_artifacts_of_the_own_build_are_given(admin: Caller) -> None:
    agent, first = await running(admin)
    (await send(agent, first, b"x", files=[X])).expect(204)
    assert (await fetch(agent, first, first["stepId"], "x")).status == 404  # not yet completed
    (await agent.complete(first)).expect(200)
    second = await agent.take()
    token = Caller(admin.coordinator, second["token"])
    assert (await fetch(token, second, first["stepId"], "x")).expect(200).body == b"x"
    assert (await fetch(token, second, first["stepId"], "y")).status == 404
    assert (await fetch(token, second, "no-step", "x")).status == 404

    other = await admin.new_project(name="other")
    await admin.new_build(other, step_of("z"))
    elsewhere = await agent.take()
    stranger = Caller(admin.coordinator, elsewhere["token"])
    assert (await fetch(stranger, elsewhere, first["stepId"], "x")).status == 404


async def test_batches_of_the_most_files_are_taken_and_given(admin: Caller) -> None:
    agent, spec = await running(admin)
    contents = [str(number).encode() for number in range(1000)]
    for half in ("a", "b"):
        files = [described(f"{half}/{number}", one) for number, one in enumerate(contents)]
        (await send(agent, spec, b"".join(contents), files=files)).expect(204)
    (await agent.complete(spec)).expect(200)
    found = (await admin.get(f"/api/steps/{spec['stepId']}/artifacts")).json
    assert len(found) == 2000
    async with asyncio.timeout(60):
        second = await agent.take()
    names = [f"a/{number}" for number in range(1000)]
    answer = await fetch(agent, second, spec["stepId"], *names)
    assert answer.expect(200).body == b"".join(contents)
