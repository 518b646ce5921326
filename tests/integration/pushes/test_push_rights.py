"""Who may push and clone, and by which paths."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.coordinator_fixture import (
    GIT_ENVIRONMENT,
    ONE_STEP,
    Caller,
    Coordinator,
    WorkTree,
    git,
    open_coordinator,
    try_git,
)


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with open_coordinator(tmp_path) as coordinator:
        yield coordinator


async def test_only_who_may_build_can_push(
    coordinator: Coordinator, admin: Caller, tree: WorkTree, project: dict[str, Any]
) -> None:
    await tree.commit({".pushrod.yml": ONE_STEP})

    async def push(caller: Caller, branch: str) -> tuple[int, str]:
        environment = (
            coordinator.push_environment(caller) if caller.token else dict(GIT_ENVIRONMENT)
        )
        result = await try_git(
            tree.folder, "push", "origin", f"main:{branch}", environment=environment
        )
        return result.exit_code, result.errors

    developer = await admin.new_token(role="developer", account="acme")
    assert (await push(developer, "developer"))[0] == 0
    viewer = await admin.new_token(role="viewer", account="acme")
    code, errors = await push(viewer, "viewer")
    assert (code != 0, "403" in errors) == (True, True), errors
    other = await admin.new_token(role="maintainer", account="other")
    code, errors = await push(other, "other")
    assert (code != 0, "not found" in errors) == (True, True), errors
    for caller in (Caller(coordinator, "pr_wrong"), coordinator.nobody):
        code, errors = await push(caller, "wrong")
        assert code != 0
        assert "fatal" in errors
    agent = await admin.new_agent()
    assert (await push(agent, "agent"))[0] != 0
    assert {build["branch"] for build in await admin.builds(project)} == {"developer"}


async def test_a_viewer_can_clone_and_another_account_can_not(
    coordinator: Coordinator, admin: Caller, tree: WorkTree, project: dict[str, Any], tmp_path: Path
) -> None:
    await tree.commit({"x": "1"})
    await tree.push()
    viewer = await admin.new_token(role="viewer", account="acme")
    stranger = await admin.new_token(role="maintainer", account="other")
    url = project["pushUrl"]
    mine = coordinator.push_environment(viewer)
    await git(tmp_path, "clone", "-q", url, "clone", environment=mine)
    refused = await try_git(
        tmp_path, "clone", url, "stolen", environment=coordinator.push_environment(stranger)
    )
    assert refused.exit_code != 0
    assert "not found" in refused.errors


async def test_git_takes_the_token_as_a_password(
    admin: Caller, project: dict[str, Any], tmp_path: Path
) -> None:
    viewer = await admin.new_token(role="viewer", account="acme")
    url = project["pushUrl"].replace("http://", f"http://anybody:{viewer.token}@")
    await git(tmp_path, "clone", "-q", url, "clone")
    wrong = project["pushUrl"].replace("http://", "http://anybody:pr_wrong@")
    refused = await try_git(tmp_path, "clone", "-q", wrong, "refused")
    assert "Authentication failed" in refused.errors


@pytest.mark.parametrize(
    "path",
    [
        "/git/acme/shop.git/info/refs",
        "/git/acme/shop.git/info/refs?service=git-evil-pack",
        "/git/acme/shop.git/HEAD",
        "/git/acme/shop.git/objects/info/packs",
        "/git/acme/..%2fshop.git/info/refs?service=git-upload-pack",
        "/git/acme/nothing.git/info/refs?service=git-upload-pack",
        "/git/%2e%2e/%2e%2e/etc/passwd",
        "/git/acme/%00.git/info/refs?service=git-upload-pack",
    ],
)
async def test_odd_git_paths_are_refused(admin: Caller, project: dict[str, Any], path: str) -> None:
    answer = await admin.get(path)
    assert 400 <= answer.status < 500, answer.text
