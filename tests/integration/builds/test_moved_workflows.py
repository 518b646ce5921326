"""Workflow files that are moved or deleted: what is listed, and what a name means."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.coordinator_fixture import (
    ONE_STEP,
    Answer,
    Caller,
    WorkTree,
    new_work_tree,
    open_coordinator,
)


@pytest.fixture
async def admin(tmp_path: Path) -> AsyncIterator[Caller]:
    async with open_coordinator(tmp_path, poll_hold_seconds=1) as coordinator:
        yield coordinator.admin


@pytest.fixture
async def project(admin: Caller) -> dict[str, Any]:
    return await admin.new_project("acme", "shop")


@pytest.fixture
async def tree(tmp_path: Path, admin: Caller, project: dict[str, Any]) -> WorkTree:
    return await new_work_tree(tmp_path, admin, project)


async def listed(admin: Caller, project: dict[str, Any]) -> list[str | None]:
    answer = await admin.get(f"/api/projects/{project['id']}/workflows")
    return [one.get("path") for one in answer.expect(200).json]


async def build(admin: Caller, project: dict[str, Any], workflow: str, **origin: str) -> Answer:
    body = {"workflowId": workflow, **origin}
    return await admin.post(f"/api/projects/{project['id']}/builds", body)


async def move(tree: WorkTree) -> tuple[str, str]:
    """`.pushrod.yml` of the first commit is `.pushrod/ci.yml` in the second."""
    first = await tree.commit({".pushrod.yml": ONE_STEP})
    await tree.push()
    (tree.folder / ".pushrod").mkdir()
    await tree.git("mv", ".pushrod.yml", ".pushrod/ci.yml")
    second = await tree.commit({"moved": "yes"})
    await tree.push()
    return first, second


async def test_a_moved_files_name_means_the_file_that_the_commit_has(
    admin: Caller, project: dict[str, Any], tree: WorkTree
) -> None:
    first, second = await move(tree)
    assert await listed(admin, project) == [".pushrod/ci.yml"]
    new, old = await admin.builds(project)
    assert new["workflowId"] != old["workflowId"]
    for origin, commit, workflow in (
        ({}, second, new["workflowId"]),
        ({"commitHash": second}, second, new["workflowId"]),
        ({"commitHash": first}, first, old["workflowId"]),
    ):
        made = (await build(admin, project, "ci", **origin)).expect(201).json
        assert (made["commitHash"], made["workflowId"]) == (commit, workflow)
    by_path = (await build(admin, project, ".pushrod.yml", commitHash=first)).expect(201).json
    assert by_path["workflowId"] == old["workflowId"]
    refused = (await build(admin, project, ".pushrod.yml")).expect(400).json
    assert refused["error"] == "there is no workflow '.pushrod.yml'; there are: ci"
    assert refused["details"][0]["path"] == "workflowId"


async def test_builds_of_a_file_that_is_gone_keep_its_name(
    admin: Caller, project: dict[str, Any], tree: WorkTree
) -> None:
    await tree.commit({".pushrod/old.yml": ONE_STEP.replace("name: ci", "name: old"), "a": ""})
    await tree.push()
    await tree.git("rm", "-q", ".pushrod/old.yml")
    await tree.commit({"a": "b"})
    await tree.push()
    assert await listed(admin, project) == []
    [old] = await admin.builds(project)
    assert old["workflow"] == "old"
    (await build(admin, project, old["workflowId"])).expect(400)
    again = await build(admin, project, old["workflowId"], commitHash=old["commitHash"])
    assert again.expect(201).json["workflow"] == "old"


async def test_a_file_of_another_branch_is_built_by_its_name_and_comes_with_the_merge(
    admin: Caller, project: dict[str, Any], tree: WorkTree
) -> None:
    await tree.commit({"a": ""})
    await tree.push()
    await tree.git("switch", "-qc", "side")
    await tree.commit({".pushrod/new.yml": ONE_STEP.replace("name: ci", "name: new")})
    await tree.push("side")
    assert await listed(admin, project) == []
    (await build(admin, project, "new")).expect(400)
    made = (await build(admin, project, "new", branch="side")).expect(201).json
    assert (made["workflow"], made["branch"]) == ("new", "side")
    await tree.push("side:main")
    assert await listed(admin, project) == [".pushrod/new.yml"]


async def test_a_workflow_of_the_api_is_listed_whatever_the_repository_has(
    admin: Caller, project: dict[str, Any], tree: WorkTree
) -> None:
    workflow_id = await admin.new_workflow(project)
    await move(tree)
    assert await listed(admin, project) == [None, ".pushrod/ci.yml"]
    (await build(admin, project, workflow_id)).expect(201)
