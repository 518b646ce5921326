"""200 builds that change state at once: what the forge hears of it, over real HTTP."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.coordinator_fixture import (
    AgentCaller,
    Coordinator,
    eventually,
    open_coordinator,
)
from tests.integration.forge_fixture import open_forge, push_payload
from tests.integration.outbox.test_statuses import WORKFLOW, Told, told_project
from tests.integration.statements import collected
from tests.integration.status_forge import StatusForge, open_status_forge

BUILDS = 200
AT_ONCE = 50
PATIENCE_SECONDS = 120
"""The aim is 10 s on a machine that does nothing else: the time is printed, counts decide."""
QUEUES = "WITH RECURSIVE classes"
"""What dispatch reads first when it is woken."""


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with open_coordinator(
        tmp_path,
        allow_http_repositories=True,
        allow_private_addresses=True,
        lease_seconds=60.0,
        poll_hold_seconds=50.0,
        accept_seconds=60.0,
    ) as coordinator:
        yield coordinator


async def begun(agent: AgentCaller) -> list[dict[str, Any]]:
    """The specs of all steps, accepted."""
    specs: list[dict[str, Any]] = []
    while len(specs) < BUILDS:
        offers = (await agent.poll(free=AT_ONCE))["offers"]
        answers = await asyncio.gather(*map(agent.accept, offers))
        specs += [answer.expect(200).json for answer in answers]
    return specs


async def until_told(statuses: StatusForge, state: str) -> None:
    """The forge has heard that of each build."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while statuses.states().count(state) < BUILDS:
            await asyncio.sleep(0.01)


async def made(coordinator: Coordinator, told: Told) -> list[str]:
    """A build of each of so many commits, which one push brings; the commits."""
    tree, commits = told.repository.tree, []
    await tree.commit({".pushrod.yml": WORKFLOW.replace("push: {}", "push: {}, manual: {}")})
    for number in range(BUILDS):
        await tree.git("commit", "-q", "--allow-empty", "-m", f"change {number}")
        commits.append((await tree.git("rev-parse", "HEAD")).output)
    await tree.git("push", "-q", "-f", "origin", "HEAD:main")
    payload = push_payload(told.repository.url, commits[-1])
    (await told.hook.github("push", payload)).expect(202)
    admin, project = coordinator.admin, told.hook.project
    [pushed] = await eventually(lambda: admin.builds(project))
    path = f"/api/projects/{project['id']}/builds"
    for commit in commits[:-1]:
        body = {"workflowId": pushed["workflowId"], "commitHash": commit}
        (await admin.post(path, body)).expect(201)
    return commits


def in_order(statuses: StatusForge) -> dict[str, list[str]]:
    """What the forge heard of each commit, one after the other."""
    heard: dict[str, list[str]] = defaultdict(list)
    for one in statuses.taken:
        heard[one.commit].append(one.state)
    return heard


async def test_two_hundred_builds_that_end_at_once_are_told_once_each_in_order(
    coordinator: Coordinator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with open_forge(tmp_path) as forge, open_status_forge() as statuses:
        told = await told_project(coordinator, forge, statuses, tmp_path)
        commits = await made(coordinator, told)
        specs = await begun(told.agent)
        await told.until_all_sent()
        before = statuses.requests

        polling = asyncio.create_task((await coordinator.admin.new_agent("idle")).poll())
        with collected() as sent:
            since = time.monotonic()
            answers = await asyncio.gather(*map(told.agent.complete, specs))
            answered = time.monotonic() - since
            await until_told(statuses, "success")
            seconds = time.monotonic() - since
        polling.cancel()
        assert all(answer.expect(200).json["buildComplete"] for answer in answers)

        # One request for each, and none of them overtakes or repeats another.
        assert statuses.requests - before == BUILDS
        heard = in_order(statuses)
        assert set(heard) == set(commits)
        assert all(states[-1] == "success" for states in heard.values())
        assert all(states == sorted(states) for states in heard.values())  # pending comes first
        # Telling is one statement of the transaction that ends a build, and dispatch does not look
        # at its queues more often than steps end.
        counts = Counter(kind_of(text) for text, _ in sent)
        assert counts["told"] == BUILDS
        assert counts["queues"] <= BUILDS
        with capsys.disabled():
            sys.stdout.write(
                f"\n{BUILDS} builds ended in {answered:.1f} s, all told after {seconds:.1f} s, "
                f"{counts.total() / BUILDS:.1f} statements a build, of which the outbox "
                f"{counts['outbox'] / BUILDS:.1f} when it sends; "
                f"{counts['queues']} looks at queues\n"
            )


def kind_of(statement: str) -> str:
    if statement.startswith("INSERT INTO outbox"):
        return "told"
    if " outbox" in statement:
        return "outbox"
    return "queues" if statement.lstrip().startswith(QUEUES) else "other"
