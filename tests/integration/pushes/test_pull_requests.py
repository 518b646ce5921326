"""Pull requests: built at their head; one from a fork waits for a maintainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.integration.coordinator_fixture import Coordinator, new_work_tree
from tests.integration.forge_fixture import (
    Hook,
    Repository,
    push_payload,
)
from tests.integration.pushes.pull_requests import WORKFLOW, pull


async def only_build(hook: Hook) -> dict[str, Any]:
    [build] = await hook.coordinator.admin.builds(hook.project)
    return await hook.coordinator.admin.build(build["id"])


@pytest.mark.parametrize("action", ["opened", "synchronize", "reopened"])
async def test_a_pull_request_of_the_repository_itself_is_built_at_once(
    action: str, repository: Repository, hook: Hook
) -> None:
    told = await pull(hook, repository, fork=False, action=action)
    build = await only_build(hook)
    assert (build["state"], build["event"]) == ("queued", "pullRequest")
    assert (build["commitHash"], build["branch"]) == (told["sha"], "pears")
    assert build["pullRequest"] == {
        "number": 7,
        "head": "pears",
        "base": "main",
        "fork": False,
        "labels": [],
        "draft": False,
    }
    agent = await hook.coordinator.admin.new_agent()
    spec = await agent.take()
    assert spec["env"]["PUSHROD_EVENT"] == "pullRequest"
    assert spec["env"]["PUSHROD_REF"] == "refs/pull/7/head"
    assert spec["env"]["PUSHROD_PULL_REQUEST"] == "7"
    assert spec["env"]["PUSHROD_PULL_REQUEST_BASE"] == "main"


async def test_a_pull_request_from_a_fork_is_held_until_a_maintainer_approves_it(
    coordinator: Coordinator, repository: Repository, hook: Hook
) -> None:
    await pull(hook, repository, fork=True)
    build = await only_build(hook)
    assert (build["state"], build["status"]) == ("held", "PENDING")
    assert build["branch"] == "pull/7", "a fork's `main` is not ours"
    assert "approve" in build["steps"][0]["waitsFor"]

    agent = await coordinator.admin.new_agent()
    claim = await coordinator.admin.get(f"/api/runner/{build['steps'][0]['id']}")
    assert "waits for a maintainer to approve" in claim.expect(409).text

    path = f"/api/projects/-/builds/{build['id']}/approve"
    developer = await coordinator.admin.new_token(role="developer", account="default")
    (await developer.post(path)).expect(403)
    stranger = await coordinator.admin.new_token(role="maintainer", account="strangers")
    (await stranger.post(path)).expect(404)
    assert (await coordinator.admin.post(path)).expect(200).json["state"] == "queued"
    (await coordinator.admin.post(path)).expect(409)

    spec = await agent.take()
    assert (spec["name"], spec["buildId"]) == ("test", build["id"])
    await agent.complete(spec)
    assert (await agent.take())["name"] == "after"


async def test_a_held_build_can_be_cancelled_and_its_retry_by_a_developer_is_held_again(
    coordinator: Coordinator, repository: Repository, hook: Hook
) -> None:
    await pull(hook, repository, fork=True)
    build = await only_build(hook)
    path = f"/api/projects/-/builds/{build['id']}"
    assert (await coordinator.admin.post(f"{path}/cancel")).json["state"] == "cancelled"
    developer = await coordinator.admin.new_token(role="developer", account="default")
    again = (await developer.post(f"{path}/retry")).expect(201).json
    assert (again["state"], again["pullRequest"]["fork"]) == ("held", True)
    by_maintainer = (await coordinator.admin.post(f"{path}/retry")).expect(201).json
    assert by_maintainer["state"] == "queued"


async def test_a_forks_build_is_not_started_by_a_developer_over_the_build_execution_api(
    coordinator: Coordinator, repository: Repository, hook: Hook
) -> None:
    await pull(hook, repository, fork=True)
    build = await only_build(hook)
    tenant = {"X-Tenant-ID": hook.project["accountUuid"]}
    path = f"/api/v1/builds/{build['id']}/start"
    developer = await coordinator.admin.new_token(role="developer", account="default")
    refused = (await developer.call("POST", path, headers=tenant)).expect(403)
    assert "a maintainer starts it" in refused.json["error"]
    assert (await only_build(hook))["state"] == "held"
    maintainer = await coordinator.admin.new_token(role="maintainer", account="default")
    (await maintainer.call("POST", path, headers=tenant)).expect(200)
    assert (await only_build(hook))["state"] == "queued"


async def test_a_forks_caches_and_its_isolation_are_its_own(
    coordinator: Coordinator, repository: Repository, hook: Hook
) -> None:
    caches, isolation = [], []
    for fork in (False, True):
        await pull(hook, repository, fork=fork, message=str(fork))
        build = (await coordinator.admin.builds(hook.project))[0]
        if fork:
            (await coordinator.admin.post(f"/api/projects/-/builds/{build['id']}/approve"))
        agent = await coordinator.admin.new_agent()
        spec = await agent.take()
        assert spec["buildId"] == build["id"]
        caches.append(spec["cacheDirs"][0]["id"])
        isolation.append(spec["isolation"])
        await coordinator.admin.post(f"/api/projects/-/builds/{build['id']}/cancel")
    assert caches[0] != caches[1]
    assert spec["cacheDirs"][0]["beginsAs"]  # the default branch's, which it may read
    assert isolation == [spec["projectId"], f"{spec['projectId']}/fork"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"base": "wip"}, "no workflow is triggered"),
        ({"action": "closed"}, "closed"),
        ({"action": "labeled"}, "labeled"),
        ({"message": "docs [skip ci]"}, "skip ci"),
        ({"workflow": "steps: [{name: a, image: b, run: c}]"}, "no workflow is triggered"),
    ],
)
async def test_what_does_not_concern_us_builds_nothing_and_says_why(
    change: dict[str, str], reason: str, repository: Repository, hook: Hook
) -> None:
    told = await pull(hook, repository, fork=False, **change)  # type: ignore[arg-type]
    assert (told["status"], reason in told["reason"]) == ("ignored", True), told
    assert await hook.coordinator.admin.builds(hook.project) == []


async def test_a_push_to_a_branch_without_its_own_trigger_is_not_built_twice(
    repository: Repository, hook: Hook
) -> None:
    told = await pull(hook, repository, fork=False)
    push = push_payload(repository.url, told["sha"], ref="refs/heads/pears")
    assert (await hook.github("push", push)).json["status"] == "ignored"
    assert len(await hook.coordinator.admin.builds(hook.project)) == 1


async def test_a_fork_neither_adds_nor_renames_a_workflow_of_the_project(
    coordinator: Coordinator, repository: Repository, hook: Hook
) -> None:
    path = f"/api/projects/{hook.project['id']}/workflows"
    await pull(hook, repository, fork=True, workflow=f"name: evil{WORKFLOW}")
    assert (await coordinator.admin.get(path)).json == []
    sha = await repository.push({".pushrod.yml": f"name: ours{WORKFLOW}"})
    await hook.github("push", push_payload(repository.url, sha))
    await pull(hook, repository, fork=True, workflow=f"name: evil{WORKFLOW}")
    assert [known["name"] for known in (await coordinator.admin.get(path)).json] == ["ours"]


@pytest.mark.parametrize("fork", [False, True])
async def test_secrets_reach_the_repositorys_own_pull_requests_and_never_a_forks(
    fork: bool, coordinator: Coordinator, repository: Repository, hook: Hook
) -> None:
    path = f"/api/projects/{hook.project['id']}/secrets/TOKEN"
    body = {"value": "s3cret-value"}
    assert (await coordinator.admin.call("PUT", path, json=body)).status < 300
    workflow = "on: pullRequest\nsteps: [{name: a, image: b, run: c, secrets: [TOKEN]}]\n"
    told = await pull(hook, repository, fork=fork, workflow=workflow)
    if fork:
        approve = f"/api/projects/-/builds/{told['builds'][0]['id']}/approve"
        (await coordinator.admin.post(approve)).expect(200)
    agent = await coordinator.admin.new_agent()
    spec = await agent.take()
    assert ("s3cret-value" in str(spec)) is not fork


@pytest.mark.parametrize("fork", [False, True])
async def test_a_build_and_its_retry_tell_what_its_pull_request_is_called(
    fork: bool, coordinator: Coordinator, repository: Repository, hook: Hook
) -> None:
    await pull(hook, repository, fork=fork, title="Sell\n\u202epears <b>\x00" + "!" * 400)
    build = await only_build(hook)
    told = build["pullRequest"]["title"]
    assert told.startswith("Sell pears <b>\ufffd!")
    assert len(told) == 300
    (await coordinator.admin.post(f"/api/projects/-/builds/{build['id']}/cancel")).expect(200)
    again = await coordinator.admin.post(f"/api/projects/-/builds/{build['id']}/retry")
    assert again.expect(201).json["pullRequest"]["title"] == told


IMAGE = """
on: {pullRequest: {branches: [main]}}
steps: [{name: image, build: {tags: ["registry.example/shop:${{ build.number }}"]}}]
"""


@pytest.mark.parametrize("fork", [False, True])
async def test_a_forks_image_is_built_but_neither_pushed_nor_given_a_login(
    coordinator: Coordinator, repository: Repository, hook: Hook, fork: bool
) -> None:
    admin = coordinator.admin
    path = f"/api/projects/{hook.project['id']}/registries/registry.example"
    login = {"username": "shop", "password": "x"}
    (await admin.call("PUT", path, json=login)).expect(200)
    await pull(hook, repository, fork=fork, workflow=IMAGE)
    build = await only_build(hook)
    if fork:
        (await admin.post(f"/api/projects/-/builds/{build['id']}/approve")).expect(200)
    agent = await admin.new_agent()

    [offer] = (await agent.poll(capabilities=["imageBuilds"]))["offers"]
    spec = (await agent.accept(offer)).expect(200).json

    assert spec["build"]["push"] is not fork
    assert ("notPushedBecause" in spec["build"]) is fork
    assert len(spec.get("registries", [])) == (0 if fork else 1)


async def test_a_forks_workflow_includes_no_file_of_another_project(
    coordinator: Coordinator, repository: Repository, hook: Hook, tmp_path: Path
) -> None:
    admin = coordinator.admin
    shared = await admin.new_project(hook.project["accountId"], "shared-ci")
    tree = await new_work_tree(tmp_path, admin, shared, "shared")
    await tree.commit({"t.yml": "templates: {t: {image: base, run: 'true'}}"})
    await tree.push()
    workflow = (
        "on: {pullRequest: {}}\ninclude: {project: shared-ci, file: t.yml}\n"
        "steps: [{name: a, use: t}]\n"
    )
    await pull(hook, repository, fork=True, workflow=workflow)
    build = await only_build(hook)
    assert build["state"] == "failed"
    (problem,) = build["problems"]
    assert problem["message"].startswith("what outsiders wrote includes no file of another project")
    assert (problem["line"], problem["column"]) == (2, 10)


GATE = "on: pullRequest\nsteps: [{name: sure, approve: {by: developer}}]\n"


@pytest.mark.parametrize("fork", [False, True])
async def test_who_answers_a_gate_is_not_for_outsiders_to_say(
    coordinator: Coordinator, repository: Repository, hook: Hook, fork: bool
) -> None:
    admin = coordinator.admin
    developer = await admin.new_token(role="developer", account="default")
    await pull(hook, repository, fork=fork, workflow=GATE)
    build = await only_build(hook)
    path = f"/api/steps/{build['steps'][0]['id']}/approve"
    if fork:
        assert "does not wait" in (await admin.post(path)).expect(409).json["error"], "it is held"
        (await admin.post(f"/api/projects/-/builds/{build['id']}/approve")).expect(200)
        refused = (await developer.post(path)).expect(403)
        assert "a maintainer, for outsiders wrote the workflow" in refused.json["error"]
    role = "a maintainer" if fork else "a developer"
    waits = (await only_build(hook))["steps"][0]["waitsFor"]
    assert waits == f"waits for an approval by {role}"
    (await (admin if fork else developer).post(path)).expect(200)
    assert (await only_build(hook))["state"] == "succeeded"
