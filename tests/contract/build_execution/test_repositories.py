"""Builds of a repository by specification 001."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.integration.coordinator_fixture import (
    ONE_STEP,
    Caller,
    new_work_tree,
)
from tests.integration.execution_fixture import Tenant, assert_envelope

# Builds of a repository


@pytest.fixture
async def pushed(admin: Caller, maintainer: Tenant, tmp_path: Path) -> dict[str, Any]:
    """A project whose repository has a workflow; `first` and `second` are commits of main."""
    project = await admin.new_project(name="pushed")
    tree = await new_work_tree(tmp_path, admin, project)
    first = await tree.commit({".pushrod/ci.yml": ONE_STEP, "a": "1"})
    second = await tree.commit({".pushrod/extra.yml": ONE_STEP.replace("name: ci", "name: aa")})
    await tree.push()
    await tree.git("push", "-q", "origin", f"{first}:refs/heads/release/1")
    return project | {"first": first, "second": second}


async def test_a_build_is_of_the_branchs_tip_or_of_the_commit(
    maintainer: Tenant, pushed: dict[str, Any]
) -> None:
    first, second = pushed["first"], pushed["second"]
    for wanted, commit in (
        ({}, second),
        ({"git_branch": "refs/heads/main"}, second),
        ({"git_branch": "release/1"}, first),
        ({"git_commit": first}, first),
        ({"git_commit": first[:7]}, first),
        ({"git_commit": first.upper()}, first),
        ({"git_branch": "gone", "git_commit": first}, first),
    ):
        build = await maintainer.create(pushed, **wanted)
        branch = wanted.get("git_branch", "main").removeprefix("refs/heads/")
        assert (build["git_commit"], build["git_branch"]) == (commit, branch)
        assert build["workflow"] == "ci"
    extra = await maintainer.create(pushed, workflow="aa")
    assert extra["workflow"] == "aa"
    by_path = await maintainer.create(pushed, workflow=".pushrod/extra.yml")
    assert by_path["workflow_id"] == extra["workflow_id"]


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({"git_branch": "nope"}, "git_branch"),
        ({"git_commit": "1234567"}, "git_commit"),
        ({"git_branch": "release/1", "workflow": "aa"}, "workflow"),
    ],
)
async def test_what_is_not_in_the_repository_is_told(
    maintainer: Tenant, pushed: dict[str, Any], wanted: dict[str, str], field: str
) -> None:
    body = {"project_id": pushed["id"], "git_branch": "main", **wanted}
    answer = await maintainer.v1("POST", "/builds", body)
    assert list(assert_envelope(answer, 400, "INVALID_REQUEST")["details"]) == [field]
