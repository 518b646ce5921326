"""What `changed(…)` of a condition compares a build with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.coordinator_fixture import (
    Caller,
    Coordinator,
    WorkTree,
    new_work_tree,
    open_coordinator,
)
from tests.integration.forge_fixture import Hook, Repository
from tests.integration.pushes.pull_requests import pull

WORKFLOW = """
on: {push: {}, tag: , manual: {}, pullRequest: {}}
steps:
  - {name: all, image: i, run: 'true'}
  - {name: src, image: i, run: 'true', when: 'changed("src/**")'}
  - {name: docs, image: i, run: 'true', when: 'changed("docs/**", "!docs/old/**")'}
"""


class Bench:
    def __init__(self, admin: Caller, project: dict[str, Any], tree: WorkTree) -> None:
        self.admin, self.project, self.tree = admin, project, tree
        self._number = 0

    async def push(self, *files: str, to: str = "main") -> dict[str, Any]:
        """Change these files, and return the newest build."""
        self._number += 1
        changed = {file: str(self._number) for file in files}
        await self.tree.commit({".pushrod.yml": WORKFLOW, **changed})
        await self.tree.push(f"HEAD:{to}" if to.startswith("refs/") else f"HEAD:refs/heads/{to}")
        return await self.newest()

    async def newest(self) -> dict[str, Any]:
        return await self.admin.build((await self.admin.builds(self.project))[0]["id"])

    async def by_hand(self, branch: str) -> dict[str, Any]:
        wanted = {"workflowId": (await self.newest())["workflowId"], "branch": branch}
        made = await self.admin.post(f"/api/projects/{self.project['id']}/builds", wanted)
        return await self.admin.build(made.expect(201).json["id"])

    async def end(self, build: dict[str, Any], status: str) -> None:
        """Only what runs: what was skipped has ended."""
        agent = await self.admin.new_agent()
        for _ in [step for step in build["steps"] if step["status"] != "SKIPPED"]:
            spec = await agent.take()
            assert spec["buildId"] == build["id"]
            (await agent.complete(spec, status=status)).expect(200)

    async def cancel(self, build: dict[str, Any]) -> None:
        path = f"/api/projects/-/builds/{build['id']}/cancel"
        (await self.admin.post(path)).expect(200)


def run(build: dict[str, Any]) -> list[str]:
    """The conditional steps that are not skipped."""
    assert build["state"] != "failed", build
    kept = [step["name"] for step in build["steps"] if step["status"] != "SKIPPED"]
    return [name for name in kept if name != "all"]


@pytest.fixture
async def admin(tmp_path: Path) -> AsyncIterator[Caller]:
    async with open_coordinator(tmp_path, poll_hold_seconds=1) as coordinator:
        yield coordinator.admin


@pytest.fixture
async def bench(admin: Caller, tmp_path: Path) -> Bench:
    project = await admin.new_project()
    return Bench(admin, project, await new_work_tree(tmp_path, admin, project))


async def test_a_push_is_compared_with_the_branchs_last_build(bench: Bench) -> None:
    assert run(await bench.push("src/a")) == ["src", "docs"]  # nothing to compare with
    assert run(await bench.push("docs/a")) == ["docs"]
    assert run(await bench.push("docs/old/a", "other")) == []
    await bench.cancel(await bench.push("src/a"))
    await bench.cancel(await bench.push("other"))
    assert run(await bench.push("docs/b")) == ["src", "docs"]
    await bench.push("src/a")
    assert run(await bench.push("other")) == []


async def test_several_commits_of_a_push_count_as_one(bench: Bench) -> None:
    await bench.push()
    await bench.tree.commit({"src/a": "1"})
    assert run(await bench.push("docs/a")) == ["src", "docs"]


async def test_a_push_that_skipped_its_build_is_looked_at_by_the_next(bench: Bench) -> None:
    await bench.push()
    await bench.tree.commit({"src/a": "1"}, "wip [skip ci]")
    await bench.tree.push()
    assert run(await bench.push("docs/a")) == ["src", "docs"]


async def test_a_build_that_could_not_begin_is_none(bench: Bench) -> None:
    await bench.push()
    await bench.tree.commit({".pushrod.yml": "steps: nonsense", "src/a": "1"})
    await bench.tree.push()
    assert run(await bench.push("docs/a")) == ["src", "docs"]


async def test_a_branch_is_compared_with_where_it_left_the_default_one(bench: Bench) -> None:
    await bench.push("src/a")
    assert run(await bench.push("docs/a", to="wip")) == ["docs"]
    assert run(await bench.push("other", to="wip")) == []
    assert run(await bench.push("src/a", to="refs/tags/v1")) == ["src", "docs"]


async def test_history_that_was_rewritten_is_compared_as_it_is(bench: Bench) -> None:
    await bench.push("src/a")
    await bench.push("docs/a", to="wip")
    await bench.tree.git("reset", "-q", "--hard", "HEAD^")
    await bench.tree.commit({"src/a": "rewritten"})
    await bench.tree.git("push", "-f", "origin", "HEAD:refs/heads/wip")
    assert run(await bench.newest()) == ["src", "docs"]  # docs/a is gone


async def test_a_build_by_hand_is_compared_with_the_last_that_succeeded(bench: Bench) -> None:
    first = await bench.push("src/a")
    by_hand = await bench.by_hand("main")
    assert run(by_hand) == ["src", "docs"]
    await bench.cancel(by_hand)
    await bench.end(first, "success")
    failed = await bench.push("docs/a")
    await bench.end(failed, "failed")
    assert run(await bench.by_hand("main")) == ["docs"]


async def test_a_pull_request_is_compared_with_where_it_left_its_base(
    coordinator: Coordinator, repository: Repository, hook: Hook
) -> None:
    start = await repository.push({".pushrod.yml": WORKFLOW})
    await repository.push({"src/file": "after the pull request began"})
    await repository.tree.git("reset", "-q", "--hard", start)
    files = {"docs/new.md": "1"}
    told = await pull(hook, repository, fork=False, workflow=WORKFLOW, files=files)
    [build] = told["builds"]
    assert run(await coordinator.admin.build(build["id"])) == ["docs"]
