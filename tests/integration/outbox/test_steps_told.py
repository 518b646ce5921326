"""What is told of a build's steps: a status of each where the project wants that, and its gates."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.coordinator_fixture import Coordinator, eventually, open_coordinator
from tests.integration.forge_fixture import Forge, open_forge
from tests.integration.outbox.test_notifications import open_chat
from tests.integration.outbox.test_statuses import Told, told_project
from tests.integration.pushes.test_webhook_commands import said
from tests.integration.status_forge import StatusForge, open_status_forge

STEPS = """
name: ci
on: {push: {}}
steps:
  - {name: test, image: base, run: 'true'}
  - {name: docs, image: base, run: 'true', when: 'branch == "docs"'}
  - {name: deploy, image: base, run: 'true', dependsOn: [test]}
"""
GATES = """
name: ci
on: {push: {}}
notify: [{on: [waiting], webhook: CHAT_URL}]
steps:
  - {name: test, image: base, run: 'true'}
  - {name: release, dependsOn: [test], approve: {by: developer}}
  - {name: announce, dependsOn: [test], approve: {}}
  - {name: deploy, image: base, run: 'true', dependsOn: [release, announce]}
"""
BUILD, TEST, DOCS, DEPLOY = (
    "pushrod/ci/push",
    "pushrod/ci/push: test",
    "pushrod/ci/push: docs",
    "pushrod/ci/push: deploy",
)


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with open_coordinator(
        tmp_path, allow_http_repositories=True, allow_private_addresses=True
    ) as coordinator:
        yield coordinator


@pytest.fixture
async def forge(tmp_path: Path) -> AsyncIterator[Forge]:
    async with open_forge(tmp_path) as forge:
        yield forge


@pytest.fixture
async def statuses() -> AsyncIterator[StatusForge]:
    async with open_status_forge("gitlab") as statuses:
        yield statuses


@pytest.fixture
async def told(
    coordinator: Coordinator, forge: Forge, statuses: StatusForge, tmp_path: Path
) -> Told:
    return await told_project(coordinator, forge, statuses, tmp_path)


async def _per_step(told: Told) -> dict[str, Any]:
    admin = told.hook.coordinator.admin
    changed = await admin.call("PATCH", told.path, json={"statusPerStep": True})
    return dict(changed.expect(200).json)


async def test_each_step_has_a_status_in_order_with_its_cause_where_the_project_wants_that(
    coordinator: Coordinator, told: Told, statuses: StatusForge
) -> None:
    assert (await _per_step(told))["statusPerStep"] is True
    await told.push(workflow=STEPS)
    await statuses.until("pending", context=DEPLOY)
    await statuses.until("success", context=DOCS)
    assert "skipped: condition false" in [one.words for one in statuses.taken]

    spec = await told.agent.take()
    await statuses.until("pending", "running", context=TEST)
    [build] = await coordinator.admin.builds(told.hook.project)
    link = next(one.link for one in statuses.taken if one.context == TEST)
    assert link == f"{coordinator.url}/builds/{build['id']}#step=test"

    (await told.agent.complete(spec, status="failed", exitCode=7)).expect(200)
    await statuses.until("pending", "running", "failed", context=TEST)
    await statuses.until("failed", context=BUILD)
    await statuses.until("pending", "success", context=DEPLOY)
    words = {one.context: one.words for one in statuses.taken}
    assert words == {
        BUILD: "test failed: exit code 7",
        TEST: "failed: exit code 7",
        DOCS: "skipped: condition false",
        DEPLOY: "skipped: dependency did not succeed: test",
    }


async def test_a_step_that_comes_with_the_answer_to_another_and_one_that_is_cancelled_are_told(
    coordinator: Coordinator, told: Told, statuses: StatusForge
) -> None:
    await _per_step(told)
    await told.push(workflow=STEPS)
    spec = await told.agent.take()
    answer = await told.agent.complete(spec, next={"instance": "one"})
    assert answer.expect(200).json["next"]["name"] == "deploy"
    await statuses.until("running", context=DEPLOY)
    [build] = await coordinator.admin.builds(told.hook.project)
    (await coordinator.admin.post(f"/api/projects/-/builds/{build['id']}/cancel")).expect(200)
    (await told.agent.complete(answer.json["next"], status="failed", exitCode=143)).expect(200)
    await statuses.until("running", "canceled", context=DEPLOY)


async def test_only_the_first_fifty_steps_of_a_build_have_a_status_of_their_own(
    told: Told, statuses: StatusForge
) -> None:
    await _per_step(told)
    steps = "".join(f"\n  - {{name: s{n}, image: base, run: 'true'}}" for n in range(60))
    await told.push(workflow=f"name: ci\non: {{push: {{}}}}\nsteps:{steps}\n")

    async def fifty() -> bool:
        return len({one.context for one in statuses.taken}) == 51

    await eventually(fifty)
    await told.until_all_sent()
    assert {one.context for one in statuses.taken} == {
        BUILD,
        *(f"{BUILD}: s{n}" for n in range(50)),
    }


async def test_a_gate_is_told_as_waiting_and_notified_of_once_until_it_is_answered(
    coordinator: Coordinator, told: Told, statuses: StatusForge
) -> None:
    async with open_chat() as chat:
        admin = coordinator.admin
        secret = f"{told.path}/secrets/CHAT_URL"
        (await admin.call("PUT", secret, json={"value": chat.url})).expect(200)
        own = {"on": ["waiting"], "webhook": chat.url + "-own"}
        (await admin.post(f"{told.path}/notifications", own)).expect(201)
        await told.push(workflow=GATES)
        (await told.agent.complete(await told.agent.take())).expect(200)

        await _until_words(
            statuses, "announce waits for an approval by a maintainer, and 1 more", "pending"
        )
        await chat.until_heard(4)
        said_of = sorted(one["build"]["words"].split()[0] for one in chat.heard)
        assert said_of == ["announce", "announce", "release", "release"]
        assert set(chat.events()) == {"waiting"}
        assert chat.heard[0]["text"].startswith(
            f"{told.hook.project['account']}/{told.hook.project['slug']}: ci #1 waits on main: "
        )

        await _answer(told, "announce", "approve")
        await _until_words(statuses, "release waits for an approval by a developer", "pending")
        await _answer(told, "release", "approve")
        await _until_words(statuses, "running", "running")
        await told.until_all_sent()
        assert len(chat.heard) == 4


async def test_a_gate_that_waits_from_the_start_stays_told_while_others_begin(
    told: Told, statuses: StatusForge
) -> None:
    await told.push(
        workflow="name: ci\non: {push: {}}\nsteps:\n"
        "  - {name: release, approve: {}}\n  - {name: test, image: base, run: 'true'}\n"
    )
    words = "release waits for an approval by a maintainer"
    await _until_words(statuses, words, "pending")
    (await told.agent.complete(await told.agent.take())).expect(200)
    await told.until_all_sent()
    assert statuses.taken[-1].words == words
    await _answer(told, "release", "reject")
    await _until_words(statuses, "release failed: rejected by admin", "failed")


async def test_the_command_sets_it_and_the_audit_log_has_it(
    coordinator: Coordinator, told: Told
) -> None:
    words = await said(coordinator, "project", "set", "remote", "--status-per-step")
    assert "its forge is told of builds and their steps" in words
    assert (await coordinator.admin.get(told.path)).json["statusPerStep"] is True
    words = await said(coordinator, "project", "set", "remote", "--no-status-per-step")
    assert "its forge is told of builds\n" in words
    assert "statusPerStep" not in (await coordinator.admin.get(told.path)).json
    log = (await coordinator.admin.get("/api/audit-logs?limit=20")).text
    assert "project.steps_told" in log
    assert "project.steps_not_told" in log


async def _answer(told: Told, name: str, how: str) -> None:
    admin = told.hook.coordinator.admin
    [build] = await admin.builds(told.hook.project)
    steps = (await admin.build(build["id"]))["steps"]
    [step] = [one for one in steps if one["name"] == name]
    (await admin.post(f"/api/steps/{step['id']}/{how}", {})).expect(200)


async def _until_words(statuses: StatusForge, words: str, state: str) -> None:
    async def look() -> bool:
        own = [one for one in statuses.taken if one.context == BUILD]
        return bool(own) and (own[-1].words, own[-1].state) == (words, state)

    await eventually(look)
