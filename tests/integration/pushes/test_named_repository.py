"""A project without a repository, of which a build names one (specification 003)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.coordinator_fixture import Answer, Caller, new_work_tree, open_coordinator
from tests.integration.forge_fixture import Forge, Repository, open_forge

LOCAL = {"allow_http_repositories": True, "allow_private_addresses": True}


@pytest.fixture
async def admin(tmp_path: Path) -> AsyncIterator[Caller]:
    async with open_coordinator(tmp_path, **LOCAL) as coordinator:
        yield coordinator.admin


@pytest.fixture
async def forge(tmp_path: Path) -> AsyncIterator[Forge]:
    async with open_forge(tmp_path) as forge:
        yield forge


async def build(caller: Caller, project: dict[str, Any], workflow: str, **origin: str) -> Answer:
    path = f"/api/projects/{project['id']}/builds"
    return await caller.post(path, {"workflowId": workflow, **origin})


async def repo_url(admin: Caller, project: dict[str, Any]) -> str | None:
    url: str | None = (await admin.get(f"/api/projects/{project['id']}")).json.get("repoUrl")
    return url


async def test_the_repository_that_a_build_names_becomes_the_projects(
    admin: Caller, forge: Forge, tmp_path: Path
) -> None:
    repository = await forge.new_repository(tmp_path / "tree")
    sha = await repository.push({"a": "1"})
    project = await admin.new_project()
    workflow = await admin.new_workflow(project)
    made = await build(admin, project, workflow, repoUrl=repository.url, commitHash=sha)
    shown = made.expect(201).json
    assert (shown["status"], shown["commitHash"]) == ("PENDING", sha), shown
    assert shown["repoUrl"] == repository.url
    assert await repo_url(admin, project) == repository.url
    audit = (await admin.get(f"/api/audit-logs?projectId={project['id']}")).json["auditLogs"]
    [entry] = [one for one in audit if one["action"] == "project.repository_set"]
    assert entry["details"]["repoUrl"] == repository.url
    agent = await admin.new_agent()
    assert (await agent.take())["source"]["commit"] == sha

    other = "https://forge.example/a/b.git"
    refused = (await build(admin, project, workflow, repoUrl=other)).expect(201).json
    assert refused["reason"].startswith(f"repoUrl must be the project's own, {repository.url}")


async def test_a_named_repository_without_a_commit_is_built_at_its_default_branch(
    admin: Caller, forge: Forge, tmp_path: Path
) -> None:
    repository = await forge.new_repository(tmp_path / "tree")
    sha = await repository.push({"a": "1"})
    project = await admin.new_project()
    workflow = await admin.new_workflow(project)
    made = (await build(admin, project, workflow, repoUrl=repository.url)).expect(201).json
    assert (made["status"], made["commitHash"], made["branch"]) == ("PENDING", sha, "main")


async def test_a_repository_that_gives_nothing_does_not_become_the_projects(
    admin: Caller, forge: Forge, tmp_path: Path
) -> None:
    repository: Repository = await forge.new_repository(tmp_path / "tree")
    await repository.push({"a": "1"})
    project = await admin.new_project()
    workflow = await admin.new_workflow(project)
    for origin in (
        {"repoUrl": repository.url, "commitHash": "1" * 40},
        {"repoUrl": f"{forge.url}/nothing.git"},
    ):
        made = (await build(admin, project, workflow, **origin)).expect(201).json
        assert made["status"] == "FAILED", origin
        assert origin["repoUrl"] in made["reason"] or "not be fetched" in made["reason"]
    assert await repo_url(admin, project) is None


async def test_what_is_no_repository_of_ours_to_fetch_is_a_bad_request(admin: Caller) -> None:
    project = await admin.new_project()
    workflow = await admin.new_workflow(project)
    for origin in (
        {"repoUrl": "not a uri"},
        {"repoUrl": "file:///etc"},
        {"repoUrl": "https://user:secret@forge.example/a/b"},
        {"repoUrl": ""},
        {"commitHash": ""},
    ):
        answer = (await build(admin, project, workflow, **origin)).expect(400).json
        assert [detail["path"] for detail in answer["details"]] == list(origin)


async def test_only_who_manages_the_project_names_its_repository(
    admin: Caller, forge: Forge, tmp_path: Path
) -> None:
    repository = await forge.new_repository(tmp_path / "tree")
    await repository.push({"a": "1"})
    project = await admin.new_project()
    workflow = await admin.new_workflow(project)
    developer = await admin.new_token(role="developer", account="default")
    (await build(developer, project, workflow, repoUrl=repository.url)).expect(403)
    assert forge.asked == []
    assert await repo_url(admin, project) is None


async def test_a_project_with_a_push_keeps_its_source(admin: Caller, tmp_path: Path) -> None:
    project = await admin.new_project()
    tree = await new_work_tree(tmp_path, admin, project)
    sha = await tree.commit({"a": "1"})
    await tree.push()
    workflow = await admin.new_workflow(project)
    for url in ("not a uri", "", "https://"):
        answer = (await build(admin, project, workflow, repoUrl=url)).expect(400).json
        assert [detail["path"] for detail in answer["details"]] == ["repoUrl"]
    for url in ("file:///etc", "https://forge.example/a/b.git"):
        made = (await build(admin, project, workflow, repoUrl=url)).expect(201).json
        assert made["reason"].startswith("repoUrl must be the project's own")
    own = project["pushUrl"]
    made = (await build(admin, project, workflow, repoUrl=own)).expect(201).json
    assert (made["status"], made["commitHash"]) == ("PENDING", sha)
