"""A project at a real Gitea: what comes in, what goes back, and what a check tells."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.coordinator_fixture import (
    AgentCaller,
    Coordinator,
    WorkTree,
    eventually,
    open_coordinator,
)
from tests.integration.pushes.test_webhook_commands import command, said
from tests.integration.real_forges.gitea import Gitea, Person, open_gitea

WORKFLOW = """
name: ci
on: {push: {}, pullRequest: {}, tag: ["v*"]}
steps: [{name: test, image: base, run: 'true'}]
"""
REPOSITORY = "anna/shop"


@pytest.fixture
async def gitea(tmp_path: Path) -> AsyncIterator[Gitea]:
    async with open_gitea(tmp_path) as gitea:
        yield gitea


@pytest.fixture
async def coordinator(gitea: Gitea, tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with open_coordinator(
        tmp_path, allow_http_repositories=True, allow_private_addresses=True, fetch_retry_seconds=1
    ) as coordinator:
        yield coordinator


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """A private repository, its project, and who has both."""

    coordinator: Coordinator
    anna: Person
    tree: WorkTree
    agent: AgentCaller
    created: str

    async def push(self, *refs: str, message: str = "change") -> str:
        sha = await self.tree.commit({".pushrod.yml": WORKFLOW}, message)
        await self.tree.push(*refs)
        return sha

    async def builds(self) -> list[dict[str, Any]]:
        """Newest first."""
        found = await self.coordinator.admin.get("/api/projects/-/builds?limit=50")
        return list(found.expect(200).json["builds"])

    async def until_built(self, count: int) -> dict[str, Any]:
        async def look() -> list[dict[str, Any]] | None:
            found = await self.builds()
            return found if len(found) >= count else None

        found = list(await eventually(look))
        assert len(found) == count
        return dict(found[0])

    async def until_status(self, sha: str, context: str, state: str) -> dict[str, Any]:
        async def look() -> dict[str, Any] | None:
            path = f"/repos/{REPOSITORY}/commits/{sha}/statuses"
            told = await self.anna.call("GET", path)
            own = [one for one in told if one["context"] == context]
            newest = max(own, key=lambda one: one["id"], default=None)
            return newest if newest and newest["status"] == state else None

        return dict(await eventually(look))

    async def end(self, status: str = "success") -> None:
        code = 0 if status == "success" else 3
        spec = await self.agent.take()
        (await self.agent.complete(spec, status=status, exitCode=code)).expect(200)


@pytest.fixture
async def shop(gitea: Gitea, coordinator: Coordinator, tmp_path: Path) -> Shop:
    anna = await gitea.person("anna")
    await anna.call("POST", "/user/repos", {"name": "shop", "private": True}, status=201)
    (tmp_path / "token").write_text(anna.token + "\n")
    where = ("--repo", f"{gitea.url}/{REPOSITORY}.git", "--forge", "gitea")
    token = str(tmp_path / "token")
    created = await said(
        coordinator, "project", "create", "shop", *where, "--forge-token-file", token
    )
    await said(coordinator, "project", "credential", "shop", "--token-file", token)
    return Shop(
        coordinator=coordinator,
        anna=anna,
        tree=await anna.tree(tmp_path / "tree", REPOSITORY),
        agent=await coordinator.admin.new_agent(),
        created=created,
    )


async def test_a_push_a_tag_and_a_deleted_branch_of_a_private_repository(shop: Shop) -> None:
    assert "ok   webhook: made" in shop.created
    sha = await shop.push("main")
    build = await shop.until_built(1)
    assert (build["branch"], build["commitHash"]) == ("main", sha)
    await shop.until_status(sha, "pushrod/ci/push", "pending")
    await shop.end("failed")
    status = await shop.until_status(sha, "pushrod/ci/push", "failure")
    assert status["description"] == "test failed: exit code 3"
    assert status["target_url"] == f"{shop.coordinator.url}/builds/{build['id']}"

    await shop.tree.git("tag", "v1")
    await shop.tree.push("v1", "main:other")
    build = await shop.until_built(3)
    assert {one.get("tag") for one in await shop.builds()} == {None, "v1"}
    await shop.tree.push(":other")
    await _until_delivered(shop, "delete", "ignored")
    assert len(await shop.builds()) == 3


async def test_a_pull_request_is_built_again_by_a_push_to_it_and_cancelled_when_closed(
    shop: Shop,
) -> None:
    await shop.push("main")
    await shop.until_built(1)
    await shop.end()
    sha = await shop.push("main:topic", message="topic")
    await shop.until_built(2)
    await shop.end()
    body = {"title": "t", "head": "topic", "base": "main"}
    pull = await shop.anna.call("POST", f"/repos/{REPOSITORY}/pulls", body, status=201)
    await shop.until_status(sha, "pushrod/ci/push", "success")
    for number in (1, 2):
        sha = await shop.push("main:topic", message=f"more {number}")
        await shop.until_status(sha, "pushrod/ci/push", "pending")
    path = f"/repos/{REPOSITORY}/pulls/{pull['number']}"
    await shop.anna.call("PATCH", path, {"state": "closed"}, status=201)
    await _until_delivered(shop, "pull_request", "ignored", "was closed")


async def test_a_forks_pull_request_is_held_and_its_status_says_so(
    gitea: Gitea, shop: Shop, tmp_path: Path
) -> None:
    await shop.push("main")
    await shop.until_built(1)
    await shop.end()
    await shop.anna.call("PATCH", f"/repos/{REPOSITORY}", {"private": False})
    eve = await gitea.person("eve")
    await eve.call("POST", f"/repos/{REPOSITORY}/forks", {}, status=202)
    tree = await eve.tree(tmp_path / "fork", "eve/shop")
    await tree.git("fetch", "-q", "origin", "main")
    await tree.git("reset", "-q", "--hard", "FETCH_HEAD")
    sha = await tree.commit({"x": "y"}, "outside")
    await tree.push("HEAD:topic")
    body = {"title": "t", "head": "eve:topic", "base": "main"}
    await eve.call("POST", f"/repos/{REPOSITORY}/pulls", body, status=201)
    build = await shop.until_built(2)
    status = await shop.until_status(sha, "pushrod/ci/pr", "pending")
    assert status["description"] == "waits for a maintainer's approval"

    again = await tree.commit({"x": "z"}, "outside again")
    await tree.push("HEAD:topic")
    newest = await shop.until_built(3)
    assert newest["id"] != build["id"]
    approve = f"/api/projects/-/builds/{newest['id']}/approve"
    (await shop.coordinator.admin.post(approve)).expect(200)
    await shop.end()
    await shop.until_status(again, "pushrod/ci/pr", "success")


async def test_a_check_tells_what_is_missing_there_and_one_command_mends_it(
    gitea: Gitea, shop: Shop, tmp_path: Path
) -> None:
    coordinator = shop.coordinator
    assert "ok   webhook: there" in await said(coordinator, "project", "check", "shop")
    [hook] = await shop.anna.call("GET", f"/repos/{REPOSITORY}/hooks")
    path = f"/repos/{REPOSITORY}/hooks/{hook['id']}"
    await shop.anna.call("PATCH", path, {"active": False, "events": ["push"]})
    missing = await command(coordinator, "project", "check", "shop")
    assert missing.exit_code == 1
    assert "it is switched off; it lacks the events" in missing.output

    await said(coordinator, "project", "set", "shop", "--make-webhook")
    [made] = await shop.anna.call("GET", f"/repos/{REPOSITORY}/hooks")
    assert made["id"] != hook["id"]
    assert "ok   webhook: there" in await said(coordinator, "project", "check", "shop")
    await shop.push("main")
    await shop.until_built(1)

    await shop.anna.call("DELETE", f"/repos/{REPOSITORY}/hooks/{made['id']}", status=204)
    missing = await command(coordinator, "project", "check", "shop")
    assert "there is none at the forge" in missing.output

    reader = await gitea.with_token("anna", "read:repository")
    (tmp_path / "token").write_text(reader.token + "\n")
    where = ("--forge-token-file", str(tmp_path / "token"))
    await said(coordinator, "project", "set", "shop", *where)
    missing = await command(coordinator, "project", "check", "shop")
    assert "the token may not set them" in missing.output
    assert reader.token not in missing.output


async def test_each_step_has_its_status_there(shop: Shop) -> None:
    await said(shop.coordinator, "project", "set", "shop", "--status-per-step")
    sha = await shop.push("main")
    await shop.until_status(sha, "pushrod/ci/push: test", "pending")
    await shop.end()
    status = await shop.until_status(sha, "pushrod/ci/push: test", "success")
    assert status["description"].startswith("succeeded")


async def _until_delivered(shop: Shop, event: str, status: str, words: str = "") -> None:
    async def look() -> bool:
        listed = json.loads(await said(shop.coordinator, "delivery", "list", "shop", "--json"))
        return any(
            (one.get("event"), one.get("status")) == (event, status)
            and words in (one.get("reason") or "")
            for one in listed
        )

    await eventually(look)
