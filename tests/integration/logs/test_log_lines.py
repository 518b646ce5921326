"""A step's log read by lines, while it grows and when it is one object."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.coordinator_fixture import Coordinator, eventually, step_of
from tests.integration.step_costs import patient_coordinator

TEXT = b"".join(b"line %d\n" % number for number in range(1, 30_001)) + b"no end"


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with patient_coordinator(tmp_path) as coordinator:
        yield coordinator


async def test_lines_are_the_same_before_and_after_folding(coordinator: Coordinator) -> None:
    admin = coordinator.admin
    agent, project = await admin.new_agent(), await admin.new_project()
    await admin.new_build(project, step_of("only"))
    spec = await agent.take()
    for at in range(0, len(TEXT), 50_000):
        (await agent.append(spec, at, TEXT[at : at + 50_000])).expect(204)
    path = f"/api/steps/{spec['stepId']}/log"
    asked = ("line=1&lines=2", "line=29999&lines=5", "line=123&lines=0", "line=30002", "line=99999")

    async def answers() -> list[tuple[bytes, str, str]]:
        found = [(await admin.get(f"{path}?{query}")).expect(200) for query in asked]
        return [
            (one.body, one.headers["Log-Next-Offset"], one.headers["Log-Size"]) for one in found
        ]

    before = await answers()
    assert [body for body, _, _ in before] == [
        b"line 1\nline 2\n",
        b"line 29999\nline 30000\nno end",
        b"",
        b"",
        b"",
    ]
    assert before[0][1:] == ("14", str(len(TEXT)))
    assert before[1][1] == str(len(TEXT))
    (await agent.complete(spec)).expect(200)
    folder = coordinator.data / "objects" / "logs" / f"{spec['stepId']}-1"

    async def folded() -> bool:
        return [one.name for one in folder.iterdir()] == ["log.zst"]

    await eventually(folded)
    assert await answers() == before
    await coordinator.restart()
    assert await answers() == before
    whole = (await admin.get(f"{path}?line=1&lines=100000")).expect(200)
    assert (whole.body, whole.headers["Log-Complete"]) == (TEXT, "true")


async def test_a_step_that_was_never_tried_has_no_lines(coordinator: Coordinator) -> None:
    project = await coordinator.admin.new_project()
    build = await coordinator.admin.new_build(project, step_of("only"))
    path = f"/api/steps/{build['steps'][0]['id']}/log?line=1"
    assert (await coordinator.admin.get(path)).expect(200).body == b""


@pytest.mark.parametrize("query", ["line=0", "line=-1", "line=1&offset=3", "line=1&wait=1"])
async def test_lines_that_make_no_sense_are_refused(coordinator: Coordinator, query: str) -> None:
    project = await coordinator.admin.new_project()
    build = await coordinator.admin.new_build(project, step_of("only"))
    path = f"/api/steps/{build['steps'][0]['id']}/log?{query}"
    assert "line" in (await coordinator.admin.get(path)).expect(400).text
