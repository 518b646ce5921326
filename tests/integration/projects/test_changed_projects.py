"""Projects are renamed, moved to a forge and back, archived, and get a new webhook secret."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.coordinator_fixture import (
    ONE_STEP,
    Answer,
    Caller,
    Coordinator,
    WorkTree,
    new_work_tree,
    open_coordinator,
    try_git,
)
from tests.integration.forge_fixture import Forge, Hook, open_forge, push_payload, remote_project

LOCAL = {"allow_http_repositories": True, "allow_private_addresses": True}


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with open_coordinator(tmp_path, **LOCAL) as coordinator:
        yield coordinator


@pytest.fixture
async def forge(tmp_path: Path) -> AsyncIterator[Forge]:
    async with open_forge(tmp_path) as forge:
        yield forge


@pytest.fixture
def admin(coordinator: Coordinator) -> Caller:
    return coordinator.admin


@pytest.fixture
async def project(admin: Caller) -> dict[str, Any]:
    return await admin.new_project("acme", "shop")


@pytest.fixture
async def tree(tmp_path: Path, admin: Caller, project: dict[str, Any]) -> WorkTree:
    tree = await new_work_tree(tmp_path, admin, project)
    await tree.commit({".pushrod.yml": ONE_STEP})
    await tree.push()
    return tree


async def change(admin: Caller, project: dict[str, Any], **wanted: object) -> Answer:
    return await admin.call("PATCH", f"/api/projects/{project['id']}", json=wanted)


async def deeds(admin: Caller, project: dict[str, Any]) -> list[str]:
    """Oldest first, but for what the fixtures did."""
    answer = await admin.get(f"/api/audit-logs?projectId={project['id']}&limit=100")
    found = [entry["action"] for entry in answer.json["auditLogs"]][::-1]
    return [one for one in found if one not in ("project.created", "push.received")]


async def test_the_audit_of_a_first_push_leaves_out_what_there_was_not(
    admin: Caller, project: dict[str, Any], tree: WorkTree
) -> None:
    sha = (await tree.git("rev-parse", "HEAD")).output.strip()
    path = f"/api/audit-logs?projectId={project['id']}&action=push.received"
    [entry] = (await admin.get(path)).expect(200).json["auditLogs"]
    assert entry["details"]["first"] == {"ref": "refs/heads/main", "new": sha}


async def test_a_renamed_project_takes_pushes_at_both_addresses(
    admin: Caller, project: dict[str, Any], tree: WorkTree
) -> None:
    renamed = (await change(admin, project, name="Web Shop")).expect(200).json
    assert (renamed["name"], renamed["slug"]) == ("Web Shop", "web-shop")
    assert renamed["pushUrl"] == project["pushUrl"].replace("shop.git", "web-shop.git")
    await tree.commit({"a": "1"})
    await tree.push()
    await tree.git("remote", "set-url", "origin", renamed["pushUrl"])
    await tree.commit({"a": "2"})
    await tree.push()
    assert [build["number"] for build in await admin.builds(project)] == [3, 2, 1]
    assert await deeds(admin, project) == ["project.renamed"]


async def test_no_other_project_gets_the_old_address_and_its_own_may_go_back(
    admin: Caller, project: dict[str, Any]
) -> None:
    (await change(admin, project, name="web")).expect(200)
    other = await admin.new_project("acme", "shop")
    assert other["slug"] == "shop-2"
    assert (await change(admin, other, name="shop")).expect(200).json["slug"] == "shop-2"
    back = (await change(admin, project, name="Shop")).expect(200).json
    assert (back["name"], back["slug"]) == ("Shop", "shop")
    assert (await admin.new_project("acme", "web"))["slug"] == "web-2"
    assert (await admin.new_project("other", "web"))["slug"] == "web"


async def test_a_project_moves_to_a_forge_and_back_without_building_anything_twice(
    coordinator: Coordinator,
    admin: Caller,
    project: dict[str, Any],
    tree: WorkTree,
    forge: Forge,
    tmp_path: Path,
) -> None:
    repository = await forge.new_repository(tmp_path / "theirs")
    sha = await repository.push({".pushrod.yml": ONE_STEP})
    moved = (await change(admin, project, repoUrl=repository.url)).expect(200).json
    assert moved["repoUrl"] == repository.url
    refused = await try_git(tree.folder, "push", "origin", "main:x", environment=tree.environment)
    assert refused.exit_code != 0
    hook = Hook(coordinator, project)
    await hook.github("push", push_payload(repository.url, sha))
    assert [build["commitHash"] for build in await admin.builds(project)][:1] == [sha]
    assert "repoUrl" not in (await change(admin, project, repoUrl="")).expect(200).json
    late = await hook.github("push", push_payload(repository.url, sha))
    assert late.json["status"] == "ignored"
    own = await tree.commit({"a": "1"})
    await tree.push()
    assert [build["commitHash"] for build in await admin.builds(project)][:2] == [own, sha]
    assert len(await admin.builds(project)) == 3
    assert await deeds(admin, project) == ["project.repository_set", "project.repository_removed"]


async def test_the_default_branch_of_a_forges_project_is_the_forges_to_name(admin: Caller) -> None:
    body = {"accountId": "acme", "name": "far", "repoUrl": "https://forge.example/a/far.git"}
    far = (await admin.post("/api/projects", body)).expect(201).json
    refused = (await change(admin, far, defaultBranch="next")).expect(409).json
    assert "forge" in refused["error"]


async def test_a_credential_stays_with_the_server_that_it_was_given_for(
    coordinator: Coordinator, forge: Forge, tmp_path: Path
) -> None:
    admin = coordinator.admin
    repository = await forge.new_repository(tmp_path / "theirs")
    forge.require("x-access-token", "s3cret-token")
    project, _ = await remote_project(coordinator, repository.url)
    credential = f"/api/projects/{project['id']}/credential"
    (await admin.call("PUT", credential, json={"token": "s3cret-token"})).expect(204)
    (await change(admin, project, repoUrl=f"{forge.url}/another.git")).expect(200)
    (await change(admin, project, repoUrl="https://example.org/x.git")).expect(200)
    (await admin.call("DELETE", credential)).expect(404)


async def test_what_would_not_be_fetched_is_refused_and_nothing_else_is_changed(
    admin: Caller, project: dict[str, Any]
) -> None:
    for wrong in ("file:///etc", "ext::sh", "no url"):
        refused = (await change(admin, project, name="new", repoUrl=wrong)).expect(400).json
        assert refused["details"][0]["path"] == "repoUrl"
    shown = (await admin.get(f"/api/projects/{project['id']}")).json
    assert (shown["name"], shown.get("repoUrl")) == ("shop", None)
    assert (await change(admin, project)).expect(200).json["name"] == "shop"
    assert await deeds(admin, project) == []


async def test_only_the_newest_webhook_secret_counts(
    coordinator: Coordinator, forge: Forge, tmp_path: Path
) -> None:
    repository = await forge.new_repository(tmp_path / "theirs")
    sha = await repository.push({".pushrod.yml": ONE_STEP})
    project, old = await remote_project(coordinator, repository.url)
    path, seen = f"/api/projects/{project['id']}/webhook-secret", {project["webhookSecret"]}
    for _ in range(2):
        secret = (await coordinator.admin.post(path)).expect(200).json["webhookSecret"]
        assert secret not in seen
        seen.add(secret)
    new = Hook(coordinator, project | {"webhookSecret": secret})
    payload = push_payload(repository.url, sha)
    (await old.github("push", payload)).expect(401)
    assert (await new.github("push", payload)).expect(202).json["status"] == "processed"
    await coordinator.restart()
    (await old.github("push", payload)).expect(401)
    (await new.github("ping", {"zen": "x"})).expect(202)
    told = (await coordinator.admin.get("/api/audit-logs?limit=100")).text
    assert "project.webhook_secret_replaced" in told
    assert secret not in told


async def test_an_archived_project_is_read_but_takes_nothing(
    coordinator: Coordinator, admin: Caller, project: dict[str, Any], tree: WorkTree
) -> None:
    [build] = await admin.builds(project)
    path = f"/api/projects/{project['id']}"
    (await admin.post(f"{path}/builds/{build['id']}/cancel")).expect(200)
    assert (await change(admin, project, archived=True)).expect(200).json["archivedAt"]
    said = "the project acme/shop is archived: `pushrod project unarchive acme/shop` opens it again"
    await tree.commit({"a": "1"})
    refused = await try_git(tree.folder, "push", "origin", "main", environment=tree.environment)
    assert refused.exit_code != 0
    assert said in refused.errors
    for call, body in (
        (f"{path}/builds", {"workflowId": "ci"}),
        (f"{path}/builds", {"workflowId": build["workflowId"]}),
        (f"{path}/builds/{build['id']}/retry", {}),
    ):
        assert (await admin.post(call, body)).expect(409).json["error"] == said
    ping = await Hook(coordinator, project).github("ping", {"zen": "x"})
    assert (ping.json["status"], ping.json["reason"]) == ("ignored", said)
    assert [one["id"] for one in await admin.builds(project)] == [build["id"]]
    await tree.git("fetch", "-q", "origin")
    await coordinator.restart()
    assert len(await admin.builds(project)) == 1
    assert "archivedAt" not in (await change(admin, project, archived=False)).expect(200).json
    await tree.push()
    assert [one["number"] for one in await admin.builds(project)] == [2, 1]
    assert await deeds(admin, project) == [
        "build.cancelled",
        "project.archived",
        "project.unarchived",
    ]


async def test_what_is_held_is_not_let_go_in_an_archived_project(
    admin: Caller, project: dict[str, Any], tree: WorkTree
) -> None:
    tenant = {"X-Tenant-ID": project["accountUuid"]}
    body = {"project_id": project["id"], "git_branch": "main"}
    made = await admin.call("POST", "/api/v1/builds", json=body, headers=tenant)
    start = f"/api/v1/builds/{made.expect(201).json['id']}/start"
    (await change(admin, project, archived=True)).expect(200)
    (await admin.call("POST", start, headers=tenant)).expect(409)
    (await admin.call("POST", "/api/v1/builds", json=body, headers=tenant)).expect(409)
    (await change(admin, project, archived=False)).expect(200)
    (await admin.call("POST", start, headers=tenant)).expect(200)
