"""Whose results a build takes, through a forge's pushes, tags and pull requests of forks."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.integration.coordinator_fixture import Coordinator, eventually, try_git
from tests.integration.forge_fixture import Hook, Repository, push_payload
from tests.integration.laptop_fixture import laptop
from tests.integration.pushes.pull_requests import pull, settled
from tests.integration.shop_fixture import Shop, reasons, states

WORKFLOW = """
name: ci
on: {push: {}, tag: ["*"], pullRequest: {alsoPush: true}}
steps:
  - {name: lint, image: base, run: lint, inputs: ["src/**"], reports: {junit: out/file}}
  - {name: test, image: base, run: test, dependsOn: [lint], inputs: []}
"""
RUNS = {"lint": "ready", "test": "blocked"}


@dataclass(slots=True)
class Place:
    hook: Hook
    repository: Repository
    shop: Shop
    commits: int = 0
    files: dict[str, str] = field(default_factory=lambda: {"src/b.py": "1"})

    def written(self, source: str) -> Mapping[str, str]:
        """A new commit's files, of which `source` alone counts."""
        self.commits += 1
        unrelated = {"unrelated": str(self.commits)}
        return {**self.files, ".pushrod.yml": WORKFLOW, "src/a.py": source, **unrelated}

    async def push(self, source: str, branch: str = "main") -> dict[str, Any]:
        sha = await self.repository.push(self.written(source), ref=f"refs/heads/{branch}")
        return await self._told(push_payload(self.repository.url, sha, ref=f"refs/heads/{branch}"))

    async def tag(self, source: str) -> dict[str, Any]:
        ref = f"refs/tags/v{self.commits}"
        sha = await self.repository.push(self.written(source), ref=ref)
        return await self._told(push_payload(self.repository.url, sha, ref=ref))

    async def _told(self, payload: object) -> dict[str, Any]:
        told = await settled(self.hook, await self.hook.github("push", payload))
        return await self._build(told)

    async def pull(self, source: str, number: int, *, fork: bool = True) -> dict[str, Any]:
        files = self.written(source)
        told = await pull(
            self.hook,
            self.repository,
            fork=fork,
            workflow=WORKFLOW,
            files=files,
            number=number,
            head=f"own-{number}",
        )
        build = await self._build(told)
        if fork:
            path = f"/api/projects/-/builds/{build['id']}/approve"
            assert build["state"] == "held"
            (await self.shop.admin.post(path)).expect(200)
        return await self.shop.admin.build(build["id"])

    async def _build(self, told: Mapping[str, Any]) -> dict[str, Any]:
        return await self.shop.admin.build(told["builds"][0]["id"])

    async def run(self, build: Mapping[str, Any]) -> str:
        """Its steps, none of which was taken; what others say that take them."""
        assert states(build) == RUNS, reasons(build)
        left = f'<testsuite name="{build["number"]}"/>'  # which `test` has from `lint`
        assert await self.shop.run(2, content=left.encode()) == ["lint", "test"]
        return f"cached from #{build['number']}"


@pytest.fixture
async def place(coordinator: Coordinator, hook: Hook, repository: Repository) -> Place:
    admin = coordinator.admin
    shop = Shop(admin, await admin.new_agent(), hook.project, repository.tree)
    return Place(hook, repository, shop)


async def test_a_forks_result_is_taken_by_its_own_pull_request_alone(place: Place) -> None:
    await place.run(await place.push("0"))  # main, where nothing is as below
    theirs = await place.run(await place.pull("1", 7))
    assert reasons(await place.pull("1", 7)) == {theirs}

    others = await place.run(await place.pull("1", 8))
    assert reasons(await place.pull("1", 8)) == {others}
    branch = await place.run(await place.push("1", "topic"))
    assert reasons(await place.pull("1", 9, fork=False)) == {branch}
    tag = await place.run(await place.tag("1"))
    assert reasons(await place.tag("1")) == {tag}
    main = await place.run(await place.push("1"))
    assert reasons(await place.push("1")) == {main}


async def test_a_fork_takes_nobody_elses_result(place: Place) -> None:
    main = await place.run(await place.push("1"))
    assert reasons(await place.push("1", "topic")) == {main}
    theirs = await place.run(await place.pull("1", 7))
    assert theirs != main


async def test_main_and_tags_take_neither_what_branches_nor_what_own_pull_requests_ran(
    place: Place,
) -> None:
    await place.run(await place.push("0"))
    branch = await place.run(await place.push("1", "topic"))
    own = await place.run(await place.pull("2", 9, fork=False))
    assert reasons(await place.push("2", "topic")) == {own}
    assert branch != own
    main = await place.run(await place.push("1"))
    assert reasons(await place.push("1", "other")) == {main}
    await place.run(await place.tag("1"))
    await place.run(await place.push("2"))


async def test_a_laptops_result_is_taken_by_branches_and_own_pull_requests_alone(
    place: Place, tmp_path: Path
) -> None:
    await place.run(await place.push("0"))
    async with laptop(tmp_path / "laptop") as its:
        body = await its.body()
    path = f"/api/projects/{place.hook.project['id']}/laptop-results"
    sent = await place.shop.admin.call("POST", path, data=io.BytesIO(body))
    assert sent.expect(200).json["taken"] == ["lint", "test"]
    taken = {"cached from laptop of admin"}

    assert reasons(await place.push("1", "topic")) == taken
    assert reasons(await place.pull("1", 9, fork=False)) == taken
    await place.run(await place.pull("1", 7))
    await place.run(await place.tag("1"))
    main = await place.run(await place.push("1"))
    assert reasons(await place.push("1", "topic")) == {main}, "an agent's goes before a laptop's"


async def test_what_becomes_the_default_branch_has_taken_nothing_with_it(
    place: Place,
) -> None:
    await place.run(await place.push("0"))
    await place.run(await place.push("1", "topic"))
    await try_git(place.repository.path, "symbolic-ref", "HEAD", "refs/heads/topic")
    await place.push("0", "topic")  # whose fetch brings the change

    async def known() -> bool:
        path = f"/api/projects/{place.hook.project['id']}"
        return bool((await place.shop.admin.get(path)).expect(200).json["defaultBranch"] == "topic")

    await eventually(known)
    await place.run(await place.push("1", "topic"))
