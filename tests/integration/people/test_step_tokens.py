"""What the token of a step may do, and how long."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.coordinator_fixture import (
    ONE_STEP,
    Caller,
    Coordinator,
    new_work_tree,
    open_coordinator,
    step_of,
    try_git,
)
from tests.integration.people.furnished_accounts import furnish


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with open_coordinator(tmp_path, poll_hold_seconds=1, lease_seconds=60) as coordinator:
        yield coordinator


@pytest.fixture
def admin(coordinator: Coordinator) -> Caller:
    return coordinator.admin


async def test_a_steps_token_reads_the_artifacts_of_its_own_build_alone(
    coordinator: Coordinator, admin: Caller
) -> None:
    house = await furnish(admin, "acme")
    step = Caller(coordinator, house.running["token"])
    elsewhere = f"/api/steps/{house.done['stepId']}/artifacts"
    assert (await step.get(elsewhere)).status == 404
    assert (await step.get(f"{elsewhere}/out")).status == 404
    await house.maintainer.new_build(house.project, step_of("c"), step_of("d", "c"))
    (await house.agent.complete(await house.agent.take())).expect(200)  # house's second step
    first = await house.agent.take()
    (await house.agent.upload(first, "x", b"mine")).expect(201)
    (await house.agent.complete(first)).expect(200)
    second = Caller(coordinator, (await house.agent.take())["token"])
    assert (await second.get(f"/api/steps/{first['stepId']}/artifacts/x")).body == b"mine"


async def test_a_steps_token_reads_its_own_projects_source_alone(
    coordinator: Coordinator, admin: Caller, tmp_path: Path
) -> None:
    house = await furnish(admin, "acme")
    secret = await admin.new_project("acme", "secret")
    tree = await new_work_tree(tmp_path, admin, secret)
    await tree.commit({".pushrod.yml": ONE_STEP})
    await tree.push()
    step = Caller(coordinator, house.running["token"])
    environment = coordinator.push_environment(step)
    refused = await try_git(tmp_path, "clone", secret["pushUrl"], "a", environment=environment)
    assert refused.exit_code != 0
    own = await try_git(
        tmp_path, "clone", "-q", house.project["pushUrl"], "b", environment=environment
    )
    assert own.exit_code == 0, own.errors
    pushed = await try_git(
        tree.folder, "push", house.project["pushUrl"], "main", environment=environment
    )
    assert pushed.exit_code != 0


async def test_a_steps_token_ends_with_its_attempt(coordinator: Coordinator, admin: Caller) -> None:
    house = await furnish(admin, "acme")
    step = Caller(coordinator, house.running["token"])
    path = f"/api/runner/{house.running['stepId']}/artifacts/x"
    (await step.call("PUT", path, data=b"x")).expect(201)
    (await house.agent.complete(house.running)).expect(200)
    answer = await step.call("PUT", path, data=b"x")
    assert (answer.status, answer.json["stale"]) == (409, True)


async def test_a_steps_token_speaks_for_its_own_epoch_alone(
    coordinator: Coordinator, admin: Caller
) -> None:
    house = await furnish(admin, "acme")
    spec = house.running
    (await house.agent.complete(spec, status="failed", exitCode=None, reason="lost")).expect(200)
    again: dict[str, Any] = {}
    while again.get("stepId") != spec["stepId"]:
        again = await house.agent.take()
    step = Caller(coordinator, again["token"])
    path = f"/api/runner/{spec['stepId']}/log?epoch={spec['epoch']}"
    answer = await step.call("PATCH", path, data=b"x", headers={"Upload-Offset": "0"})
    assert (answer.status, answer.json["stale"]) == (409, True)
