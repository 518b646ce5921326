"""`retries: {delay: 30s}`: a step waits between two attempts, outside the queue."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from coordinator.services.core import utc_now
from tests.integration.coordinator_fixture import (
    AgentCaller,
    Caller,
    Coordinator,
    WorkTree,
    eventually,
    new_work_tree,
    open_coordinator,
)

DELAYED = "{name: a, image: base, run: c, retries: {max: 2, delay: 5m}%s}"


class Clock:
    ahead = timedelta()

    def now(self) -> datetime:
        return utc_now() + self.ahead


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def coordinator(tmp_path: Path, clock: Clock) -> AsyncIterator[Coordinator]:
    async with open_coordinator(
        tmp_path, now=clock.now, poll_hold_seconds=1, lease_seconds=2
    ) as coordinator:
        yield coordinator


@pytest.fixture
def admin(coordinator: Coordinator) -> Caller:
    return coordinator.admin


@pytest.fixture
async def tree(tmp_path: Path, admin: Caller) -> WorkTree:
    return await new_work_tree(tmp_path, admin, await admin.new_project())


@pytest.fixture
async def agent(admin: Caller) -> AgentCaller:
    return await admin.new_agent(slots=4)


async def pushed(admin: Caller, tree: WorkTree, *steps: str, of_build: str = "") -> dict[str, Any]:
    text = f"{of_build}\nsteps:\n" + "".join(f"  - {step}\n" for step in steps)
    await tree.commit({".pushrod.yml": text})
    await tree.push()
    newest = (await admin.get("/api/projects/-/builds?limit=1")).expect(200).json["builds"][0]
    return await admin.build(newest["id"])


async def shown(admin: Caller, build: dict[str, Any], name: str = "a") -> dict[str, Any]:
    found = await admin.build(build["id"])
    return next(step for step in found["steps"] if step["name"] == name)


async def failed_once(
    admin: Caller, agent: AgentCaller, tree: WorkTree, more: str = "", of_build: str = ""
) -> dict[str, Any]:
    """A build whose first step waits for its second attempt."""
    build = await pushed(
        admin,
        tree,
        DELAYED % more,
        "{name: after, image: base, run: c, dependsOn: [a]}",
        of_build=of_build,
    )
    (await agent.complete(await agent.take(), status="failed", exitCode=75)).expect(200)
    return build


async def until_queued(admin: Caller, build: dict[str, Any]) -> dict[str, Any]:
    async def is_queued() -> dict[str, Any] | None:
        step = await shown(admin, build)
        return step if step["status"] == "READY" else None

    found: dict[str, Any] = await eventually(is_queued)
    return found


async def test_a_step_is_tried_again_once_its_delay_is_over_and_says_when(
    coordinator: Coordinator, agent: AgentCaller, tree: WorkTree, clock: Clock
) -> None:
    admin = coordinator.admin
    build = await failed_once(admin, agent, tree)
    step = await shown(admin, build)
    assert (step["status"], step["attempt"], step["reason"]) == ("BLOCKED", 1, "exit code 75")
    assert step["waitsFor"] == "tried again in 5 min"
    left = datetime.fromisoformat(step["retryAt"]) - clock.now()
    assert timedelta(minutes=4) < left < timedelta(minutes=5)
    assert (await admin.build(build["id"]))["state"] == "running"
    assert (await agent.poll())["offers"] == []
    refused = (await admin.get(f"/api/runner/{step['id']}")).expect(409)
    assert refused.json["error"] == "step 'a' is tried again in 5 min"
    clock.ahead = timedelta(minutes=4, seconds=30)
    await coordinator.restart()
    step = await shown(admin, build)
    assert step["status"] == "BLOCKED"
    words = step["waitsFor"].split()
    assert (words[:-2], words[-1]) == (["tried", "again", "in"], "s")
    assert 0 < int(words[-2]) <= 30
    clock.ahead = timedelta(minutes=5)
    await coordinator.restart()
    step = await until_queued(admin, build)
    assert (step["attempt"], "retryAt" in step) == (1, False)
    spec = await agent.take()
    assert (spec["name"], spec["attempt"]) == ("a", 2)
    (await agent.complete(spec)).expect(200)
    assert (await agent.take())["name"] == "after"


async def test_a_delay_passes_while_nothing_else_happens(
    admin: Caller, agent: AgentCaller, tree: WorkTree
) -> None:
    await pushed(admin, tree, "{name: a, image: base, run: c, retries: {max: 1, delay: 2s}}")
    spec = await agent.take()
    # A completion that is answered with no other step wakes nobody by itself.
    (await agent.complete(spec, status="failed", exitCode=1)).expect(200)
    spec = await agent.take()
    assert (spec["name"], spec["attempt"]) == ("a", 2)


async def test_the_completion_is_answered_with_another_step_meanwhile(
    admin: Caller, agent: AgentCaller, tree: WorkTree
) -> None:
    await pushed(
        admin,
        tree,
        "{name: a, image: base, run: c, retries: {max: 1, delay: 1s}}",
        "{name: b, image: base, run: c}",
    )
    spec = await agent.take()
    answer = await agent.complete(spec, status="failed", exitCode=1, next={"instance": "one"})
    answered = answer.expect(200).json
    assert (answered["stepStatus"], answered["next"]["name"]) == ("BLOCKED", "b")
    assert (await agent.take())["name"] == "a"


async def test_a_delayed_step_has_no_place_in_its_group(
    admin: Caller, agent: AgentCaller, tree: WorkTree, clock: Clock
) -> None:
    build = await pushed(
        admin,
        tree,
        DELAYED % ", concurrency: gpu",
        "{name: b, image: base, run: c, concurrency: gpu}",
    )
    (await agent.complete(await agent.take(), status="failed", exitCode=1)).expect(200)
    spec = await agent.take()
    assert spec["name"] == "b"
    clock.ahead = timedelta(minutes=5)
    await pushed(admin, tree, "{name: other, image: base, run: c}")  # which lets it look

    async def lines_up() -> bool:
        return "place in the group" in (await shown(admin, build)).get("waitsFor", "")

    await eventually(lines_up)
    (await agent.complete(spec)).expect(200)
    names = {(await agent.take())["name"] for _ in range(2)}
    assert names == {"a", "other"}


async def test_a_lost_attempt_waits_too_and_its_late_result_counts(
    admin: Caller, agent: AgentCaller, tree: WorkTree
) -> None:
    build = await pushed(admin, tree, DELAYED % "")
    spec = await agent.take()

    async def is_lost() -> bool:
        return "retryAt" in await shown(admin, build)

    await eventually(is_lost)
    assert (await shown(admin, build))["reason"] == "lost agent"
    (await agent.complete(spec)).expect(200)
    assert (await admin.build(build["id"]))["state"] == "succeeded"


async def test_an_offer_that_nobody_takes_is_queued_at_once(
    admin: Caller, agent: AgentCaller, tree: WorkTree
) -> None:
    build = await pushed(admin, tree, DELAYED % "")
    [offer] = (await agent.poll())["offers"]
    assert offer["stepId"] == build["steps"][0]["id"]
    await agent.post("/api/agent/goodbye", {"instance": "one", "leases": []})
    other = await admin.new_agent("other")
    assert (await other.take())["attempt"] == 1


@pytest.mark.parametrize("steps", [None, ["a"]])
async def test_a_cancel_ends_it_at_once(
    admin: Caller, agent: AgentCaller, tree: WorkTree, steps: list[str] | None
) -> None:
    build = await failed_once(admin, agent, tree)
    body = None if steps is None else {"steps": steps}
    (await admin.post(f"/api/projects/-/builds/{build['id']}/cancel", body)).expect(200)
    found = await admin.build(build["id"])
    assert (found["state"], found["steps"][0]["reason"]) == ("cancelled", "cancelled by admin")


async def test_fail_fast_and_a_newer_build_end_it_too(
    admin: Caller, agent: AgentCaller, tree: WorkTree
) -> None:
    build = await pushed(
        admin, tree, DELAYED % "", "{name: b, image: base, run: c}", of_build="failFast: true"
    )
    for _ in range(2):
        (await agent.complete(await agent.take(), status="failed", exitCode=1)).expect(200)
    found = await admin.build(build["id"])
    assert (found["state"], found["steps"][0]["status"]) == ("failed", "CANCELLED")
    group = "concurrency: {group: g, cancelRunning: true}"
    build = await failed_once(admin, agent, tree, of_build=group)
    await pushed(admin, tree, "{name: newer, image: base, run: c}", of_build=group)
    found = await admin.build(build["id"])
    assert found["state"] == "cancelled"
    assert "superseded by" in found["reason"]


async def test_the_builds_timeout_goes_on(
    admin: Caller, agent: AgentCaller, tree: WorkTree, clock: Clock
) -> None:
    build = await failed_once(admin, agent, tree, of_build="timeout: 4m")
    clock.ahead = timedelta(minutes=4, seconds=30)
    await pushed(admin, tree, "{name: other, image: base, run: c}", of_build="timeout: 4m")
    assert (await agent.take())["name"] == "other"  # whose beginning lets it look

    async def is_ended() -> bool:
        return bool((await admin.build(build["id"]))["state"] == "failed")

    await eventually(is_ended)
    found = await admin.build(build["id"])
    assert found["reason"].startswith("timeout: the build took")
    assert found["steps"][0]["status"] == "CANCELLED"


async def test_a_step_that_is_queued_again_is_given_up_after_its_own_time(
    admin: Caller, agent: AgentCaller, tree: WorkTree, clock: Clock
) -> None:
    build = await failed_once(admin, agent, tree, ", queueTimeout: 60s")
    other = "{name: other, image: base, run: c}"
    for minutes, status in ((6, "READY"), (8, "FAILED")):
        clock.ahead = timedelta(minutes=minutes)
        await pushed(admin, tree, other)  # which lets it look

        async def is_so(status: str = status) -> bool:
            return bool((await shown(admin, build))["status"] == status)

        await eventually(is_so)
    assert (await shown(admin, build))["reason"].startswith("no agent took it within 1m: ")
