"""`privileged`: of trusted projects alone, on agents that allow it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from coordinator.domain.steps.step_words import privilege_fault
from pipelines_schema import Service
from tests.integration.builds.test_generated_steps import generate
from tests.integration.coordinator_fixture import (
    AgentCaller,
    Caller,
    Coordinator,
    WorkTree,
    new_work_tree,
    open_coordinator,
)
from tests.integration.core_fixture import open_core, step_of
from tests.integration.execution_fixture import new_member

PRIVILEGED = {"capabilities": ["privileged", "services"]}
STEP = "{name: a, image: base, run: a, privileged: true}"
SERVICE = "{name: a, image: base, run: a, services: {docker: {image: base, privileged: true}}}"


@dataclass(frozen=True, slots=True)
class Shop:
    admin: Caller
    project: Mapping[str, Any]
    tree: WorkTree
    agent: AgentCaller

    async def push(self, *steps: str) -> dict[str, Any]:
        """Its newest build."""
        listed = "".join(f"- {step}\n" for step in steps)
        await self.tree.commit({".pushrod.yml": f"on: {{push: {{}}}}\nsteps:\n{listed}"})
        await self.tree.push()
        return await self.admin.build((await self.admin.builds(self.project))[0]["id"])

    async def trust(self, caller: Caller, trusted: bool = True) -> Any:
        path = f"/api/projects/{self.project['id']}"
        return await caller.call("PATCH", path, json={"trusted": trusted})


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with open_coordinator(tmp_path, poll_hold_seconds=1) as found:
        yield found


@pytest.fixture
async def shop(coordinator: Coordinator, tmp_path: Path) -> Shop:
    admin = coordinator.admin
    project = await admin.new_project()
    tree = await new_work_tree(tmp_path, admin, project)
    return Shop(admin, project, tree, await admin.new_agent())


@pytest.mark.parametrize("step", [STEP, SERVICE])
async def test_nothing_of_a_project_that_is_not_trusted_is_privileged(
    shop: Shop, step: str
) -> None:
    build = await shop.push(step)
    assert (build["state"], build["steps"]) == ("failed", [])
    [problem] = build["problems"]
    assert "step `a` is `privileged`, which only a trusted project's may be" in problem["message"]
    assert "`pushrod project trust default/" in problem["message"]
    (await shop.trust(shop.admin)).expect(200)
    again = (await shop.admin.post(f"/api/projects/-/builds/{build['id']}/retry")).expect(201)
    assert again.json["state"] == "queued"


async def test_an_administrator_of_all_accounts_alone_trusts(shop: Shop) -> None:
    for role in ("developer", "maintainer"):
        (await shop.trust(await new_member(shop.admin, role))).expect(403)
    assert "trusted" not in (await shop.admin.get(f"/api/projects/{shop.project['id']}")).json
    assert (await shop.trust(shop.admin)).expect(200).json["trusted"] is True
    assert "trusted" not in (await shop.trust(shop.admin, False)).expect(200).json
    actions = [one["action"] for one in (await shop.admin.get("/api/audit-logs")).json["auditLogs"]]
    assert [one for one in actions if "trusted" in one] == [
        "project.not_trusted",
        "project.trusted",
    ]


@pytest.mark.parametrize("step", [STEP, SERVICE])
async def test_only_an_agent_that_allows_it_gets_such_a_step(shop: Shop, step: str) -> None:
    await shop.trust(shop.admin)
    build = await shop.push(step)
    assert (await shop.agent.poll(capabilities=["services"]))["offers"] == []
    [waiting] = (await shop.admin.build(build["id"]))["steps"]
    assert "which no connected agent allows" in waiting["waitsFor"]
    assert "`pushrod agent --allow-privileged`" in waiting["waitsFor"]
    spec = await shop.agent.take(**PRIVILEGED)
    [service] = spec["services"] or [{"privileged": None}]
    assert (spec["privileged"], service["privileged"]) in ((True, None), (False, True))


async def test_trust_is_not_taken_back_over_the_head_of_steps_that_have_it(shop: Shop) -> None:
    await shop.trust(shop.admin)
    build = await shop.push(STEP)
    refused = (await shop.trust(shop.admin, False)).expect(409)
    assert f"#{build['number']}" in refused.text
    (await shop.admin.post(f"/api/projects/-/builds/{build['id']}/cancel")).expect(200)
    (await shop.trust(shop.admin, False)).expect(200)


@pytest.mark.parametrize("its", ["", ", privileged: true"])
async def test_generated_steps_have_their_generators_trust(shop: Shop, its: str) -> None:
    await shop.trust(shop.admin)
    await shop.push(f"{{name: g, image: base, run: g, generates: more.yml{its}}}")
    spec = await shop.agent.take(**PRIVILEGED)
    await generate(shop.agent, spec, STEP.strip("{}"))
    build = await shop.admin.build(spec["buildId"])
    if its:
        assert [one["name"] for one in build["steps"]] == ["g", "a"]
    else:
        [failed] = build["steps"]
        assert failed["status"] == "FAILED"
        assert "step `g`, which generates it, is not" in failed["message"]


async def test_nothing_of_a_fork_is_ever_privileged(tmp_path: Path) -> None:
    async with open_core(tmp_path) as tested:
        project = await tested.new_project()
        build = await tested.new_build(project, step_of("a"))
        [step] = await tested.steps(build)
    assert privilege_fault(step, build, project) is None
    service = Service(name="docker", image="base", privileged=True)
    for more in ({"privileged": True}, {"services": (service,)}):
        written = replace(step.written, **more)
        asked = replace(step, definition=replace(step.definition, written=written))
        fork, trusted = replace(build, outside=True), replace(project, trusted=True)
        assert "nothing of a fork" in (privilege_fault(asked, fork, trusted) or "")
        assert privilege_fault(asked, build, trusted) is None
