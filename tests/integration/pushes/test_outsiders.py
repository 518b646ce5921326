"""A fork's commit stays a fork's, whoever asks for it and by whichever interface."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.coordinator_fixture import Caller, Coordinator, open_coordinator, step_of
from tests.integration.forge_fixture import (
    Forge,
    Hook,
    Repository,
    open_forge,
    push_payload,
    remote_project,
)

WORKFLOW = """
on: {push: {}, pullRequest: {}, manual: {}}
steps: [{name: test, image: base, run: 'true', cacheDirs: [/cache], secrets: [KEY]}]
"""


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    settings = {"allow_http_repositories": True, "allow_private_addresses": True}
    async with open_coordinator(tmp_path, **settings) as coordinator:
        yield coordinator


@pytest.fixture
async def forge(tmp_path: Path) -> AsyncIterator[Forge]:
    async with open_forge(tmp_path) as forge:
        yield forge


@pytest.fixture
async def repository(forge: Forge, tmp_path: Path) -> Repository:
    repository = await forge.new_repository(tmp_path / "tree")
    await repository.push({".pushrod.yml": WORKFLOW}, "ours")
    return repository


@pytest.fixture
async def hook(coordinator: Coordinator, repository: Repository) -> Hook:
    hook = (await remote_project(coordinator, repository.url))[1]
    path = f"/api/projects/{hook.project['id']}/secrets/KEY"
    (await coordinator.admin.call("PUT", path, json={"value": "s3cret-of-ours"})).expect(200)
    return hook


@pytest.fixture
async def workflow_id(coordinator: Coordinator, hook: Hook, repository: Repository) -> str:
    """Of the file, which a push made known."""
    await hook.github("push", push_payload(repository.url, await head_of(repository)))
    listed = await coordinator.admin.get(f"/api/projects/{hook.project['id']}/workflows")
    return str(listed.json[0]["id"])


async def head_of(repository: Repository) -> str:
    return (await repository.tree.git("rev-parse", "HEAD")).output.strip()


async def fork_commit(repository: Repository, number: int = 7) -> str:
    """As forges keep it: below `refs/pull`, on no branch."""
    files = {".pushrod.yml": WORKFLOW, "evil": "yes"}
    return await repository.push(files, "theirs", f"refs/pull/{number}/head")


async def pull_request(hook: Hook, repository: Repository, sha: str) -> None:
    head = {"ref": "main", "sha": sha, "repo": {"id": 2}}
    payload = {
        "action": "opened",
        "number": 7,
        "pull_request": {"head": head, "base": {"ref": "main", "repo": {"id": 1}}},
        "repository": {"clone_url": repository.url},
    }
    (await hook.github("pull_request", payload)).expect(202)


async def build_by_hand(
    caller: Caller, hook: Hook, workflow_id: str, sha: str, **more: str
) -> dict[str, Any]:
    path = f"/api/projects/{hook.project['id']}/builds"
    answer = await caller.post(path, {"workflowId": workflow_id, "commitHash": sha, **more})
    return await caller.build(answer.expect(201).json["id"])


@pytest.mark.parametrize("known", [True, False])
async def test_a_forks_commit_built_by_hand_is_held_and_gets_no_secret(
    known: bool, coordinator: Coordinator, hook: Hook, repository: Repository, workflow_id: str
) -> None:
    sha = await fork_commit(repository)
    if known:
        await pull_request(hook, repository, sha)
    developer = await coordinator.admin.new_token(role="developer", account="default")
    build = await build_by_hand(developer, hook, workflow_id, sha, branch="main")
    assert build["state"] == "held"
    assert build["branch"] == ("pull/7" if known else f"commit/{sha[:10]}")
    path = f"/api/projects/-/builds/{build['id']}"
    (await developer.post(f"{path}/approve")).expect(403)

    (await coordinator.admin.post(f"{path}/approve")).expect(200)
    agent = await coordinator.admin.new_agent()
    specs = [await agent.take(), await agent.take()]
    [spec] = [one for one in specs if one["buildId"] == build["id"]]
    [ours] = [one for one in specs if one["buildId"] != build["id"]]
    assert ours["secrets"] == {"KEY": "s3cret-of-ours"}
    assert not spec.get("secrets")
    assert spec["env"]["PUSHROD_BRANCH"] == build["branch"]
    assert spec["cacheDirs"][0]["id"] != ours["cacheDirs"][0]["id"]


async def test_a_workflow_of_the_api_is_no_way_round(
    coordinator: Coordinator, hook: Hook, repository: Repository
) -> None:
    sha = await fork_commit(repository)
    made = await coordinator.admin.new_workflow(hook.project, step_of("test"))
    build = await build_by_hand(coordinator.admin, hook, made, sha)
    assert build["state"] == "held"


async def test_nor_are_builds_that_are_made_first_and_started_later(
    coordinator: Coordinator, hook: Hook, repository: Repository, workflow_id: str
) -> None:
    sha = await fork_commit(repository)
    developer = await coordinator.admin.new_token(role="developer", account="default")
    account = hook.project["accountUuid"]
    made = await developer.call(
        "POST",
        "/api/v1/builds",
        json={"project_id": hook.project["id"], "git_branch": "main", "git_commit": sha},
        headers={"X-Tenant-ID": account},
    )
    build_id = made.expect(201).json["id"]
    start = await developer.call(
        "POST", f"/api/v1/builds/{build_id}/start", json={}, headers={"X-Tenant-ID": account}
    )
    start.expect(403)


async def test_once_a_branch_has_it_the_commit_is_the_projects(
    coordinator: Coordinator, hook: Hook, repository: Repository, workflow_id: str
) -> None:
    sha = await fork_commit(repository)
    await pull_request(hook, repository, sha)
    assert (await build_by_hand(coordinator.admin, hook, workflow_id, sha))["state"] == "held"
    await repository.tree.git("push", "-q", "-f", "origin", f"{sha}:refs/heads/merged")
    assert (await build_by_hand(coordinator.admin, hook, workflow_id, sha))["state"] == "queued"


async def test_an_older_commit_of_a_branch_is_built_at_once(
    coordinator: Coordinator, hook: Hook, repository: Repository, workflow_id: str
) -> None:
    first = await head_of(repository)
    await repository.push({"more": "files"}, "later")
    build = await build_by_hand(coordinator.admin, hook, workflow_id, first)
    assert build["state"] == "queued"
