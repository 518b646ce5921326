"""What an outsider writes holds no coordinator, and one that it takes down is not lost for good."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.e2e.processes import READY, Process
from tests.integration.coordinator_fixture import (
    ONE_STEP,
    PATIENCE_SECONDS,
    Coordinator,
    eventually,
    new_work_tree,
    open_coordinator,
    try_git,
)
from tests.integration.forge_fixture import (
    Forge,
    Hook,
    Repository,
    open_forge,
    push_payload,
    remote_project,
    until_settled,
)
from tests.ports import free_port

ON_EVERYTHING = "on: {push: {}, pullRequest: {}}\n"
STEPS = "steps: [{name: a, image: base, run: 'true'}]\n"
LOCAL = {"allow_http_repositories": True, "allow_private_addresses": True}
LONG_MESSAGE = "a" * 10_000


def nested(levels: int) -> str:
    """Ten times as long to work out with each level; a comment hides the macro from a pattern."""
    condition = "true"
    for level in range(levels):
        condition = f"[{', '.join('0' * 10)}].//\\nall(x{level}, {condition})"
    return f"{ON_EVERYTHING}steps: [{{name: a, image: base, run: 'true', when: \"{condition}\"}}]\n"


def slow_expressions() -> str:
    """Most of a minute of regular expressions, a second each, without any macro."""
    condition = """'message.matches("(((a{10}){10}){10}){10}%d?")'"""
    steps = [
        f"  - {{name: s{number}, image: base, run: 'true', when: {condition % number}}}\n"
        for number in range(40)
    ]
    return f"{ON_EVERYTHING}steps:\n{''.join(steps)}"


HOSTILE = pytest.mark.parametrize(
    ("workflow", "said"),
    [
        (nested(6), "can't use `all(…)`"),
        (nested(9), "can't use `all(…)`"),
        (slow_expressions(), "takes more than 250 ms of processor time"),
    ],
    ids=["6 levels", "9 levels", "regular expressions"],
)


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with open_coordinator(tmp_path, **LOCAL) as coordinator:
        yield coordinator


@pytest.fixture
async def forge(tmp_path: Path) -> AsyncIterator[Forge]:
    async with open_forge(tmp_path) as forge:
        yield forge


@pytest.fixture
async def repository(forge: Forge, tmp_path: Path) -> Repository:
    return await forge.new_repository(tmp_path / "tree")


async def others_are_answered(coordinator: Coordinator) -> None:
    (await coordinator.nobody.get("/healthz")).expect(200)


async def failed_build(coordinator: Coordinator, project: Any) -> dict[str, Any]:
    [build] = await eventually(lambda: coordinator.admin.builds(project))
    assert build["state"] == "failed"
    return await coordinator.admin.build(build["id"])


@HOSTILE
async def test_a_pushed_condition_holds_nobody(
    coordinator: Coordinator, tmp_path: Path, workflow: str, said: str
) -> None:
    project = await coordinator.admin.new_project()
    tree = await new_work_tree(tmp_path, coordinator.admin, project)
    await tree.commit({".pushrod.yml": workflow}, LONG_MESSAGE)
    pushing = asyncio.ensure_future(tree.push())
    await others_are_answered(coordinator)
    await pushing
    await others_are_answered(coordinator)
    build = await failed_build(coordinator, project)
    assert said in build["problems"][0]["message"]
    assert build["problems"][0]["line"] > 1


@HOSTILE
async def test_a_condition_in_a_forks_pull_request_holds_nobody(
    coordinator: Coordinator, repository: Repository, workflow: str, said: str
) -> None:
    project, hook = await remote_project(coordinator, repository.url)
    sha = await repository.push({".pushrod.yml": workflow}, LONG_MESSAGE, "refs/pull/7/head")
    head = {"ref": "main", "sha": sha, "repo": {"id": 2}}
    payload = {
        "action": "opened",
        "number": 7,
        "pull_request": {"head": head, "base": {"ref": "main", "repo": {"id": 1}}},
        "repository": {"clone_url": repository.url},
    }
    delivering = asyncio.ensure_future(hook.github("pull_request", payload))
    await others_are_answered(coordinator)
    (await delivering).expect(202)
    await others_are_answered(coordinator)
    build = await failed_build(coordinator, project)
    assert said in build["problems"][0]["message"]


async def test_filters_of_paths_that_take_too_long_fail_their_workflow_alone(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    project = await coordinator.admin.new_project()
    tree = await new_work_tree(tmp_path, coordinator.admin, project)
    await tree.commit({".pushrod/good.yml": ONE_STEP})
    await tree.push()
    patterns = [f"**/{'*a' * 100}{number}" for number in range(100)]
    hostile = f"on: {{push: {{paths: {json.dumps(patterns)}}}}}\n{STEPS}"
    files = {f"{number}/{'a' * 200}": "" for number in range(500)}
    await tree.commit(files | {".pushrod/hostile.yml": hostile})
    pushing = asyncio.ensure_future(tree.push())
    await others_are_answered(coordinator)
    await pushing
    builds = await coordinator.admin.builds(project)
    assert sorted(build["state"] for build in builds) == ["failed", "queued", "queued"]
    [failed] = [build for build in builds if build["state"] == "failed"]
    [problem] = (await coordinator.admin.build(failed["id"]))["problems"]
    assert "`paths` matches takes more than 3 s of processor time" in problem["message"]
    assert problem["file"] == ".pushrod/hostile.yml"


async def test_a_large_webhook_is_read_like_a_small_one(
    coordinator: Coordinator, repository: Repository
) -> None:
    _, hook = await remote_project(coordinator, repository.url)
    sha = await repository.push({".pushrod.yml": ONE_STEP})
    payload = push_payload(repository.url, sha) | {"commits": [{}] * 1_000_000}
    answer = (await hook.github("push", payload)).expect(202)
    assert answer.json["status"] == "processed"
    (await hook.github("push", b"{" * 1_000_000)).expect(400)


@dataclass(slots=True)
class KilledCoordinator:
    """One in a process of its own, which is killed whenever it has begun to read a push."""

    data: Path
    process: Process

    async def start(self) -> None:
        await asyncio.to_thread(self.process.start, READY.pattern)

    async def kill_when_begun(self, times: int) -> None:
        """Once that many processes have begun to read a push and not ended."""
        async with asyncio.timeout(90):
            while self._processes() != times:
                await asyncio.sleep(0.002)
        await self.kill()

    def _processes(self) -> int | None:
        with closing(sqlite3.connect(self.data / "pushrod.db")) as connection:
            return connection.execute("SELECT max(processes) FROM begun_pushes").fetchone()[0]

    async def kill(self) -> None:
        await asyncio.to_thread(self.process.kill)


@asynccontextmanager
async def killed_coordinator(
    folder: Path,
) -> AsyncIterator[tuple[KilledCoordinator, Coordinator]]:
    data, port = folder / "killed", free_port()
    process = Process(
        *("coordinator", "--data", str(data), "--listen", f"127.0.0.1:{port}"),
        log=folder / "killed.log",
        settings=dict.fromkeys(LOCAL, "true"),
    )
    killed = KilledCoordinator(data, process)
    await killed.start()
    try:
        async with aiohttp.ClientSession() as session:
            yield killed, Coordinator(data, {}, session, port)
    finally:
        await killed.kill()


def slow_to_read() -> dict[str, str]:
    """A second of work or more, with nothing wrong in it."""
    steps = "".join(f"  - {{name: s{n}, image: base, run: 'true'}}\n" for n in range(400))
    return {f".pushrod/w{n}.yml": f"{ON_EVERYTHING}steps:\n{steps}" for n in range(15)}


@pytest.mark.timeout(240)
async def test_a_pushed_commit_that_takes_three_processes_down_ends_as_a_failed_build(
    tmp_path: Path,
) -> None:
    async with killed_coordinator(tmp_path) as (killed, coordinator):
        project = await coordinator.admin.new_project()
        tree = await new_work_tree(tmp_path, coordinator.admin, project)
        await tree.commit({".pushrod.yml": ONE_STEP})
        await tree.git("branch", "zebra")
        await tree.commit(slow_to_read())
        pushing = asyncio.ensure_future(
            try_git(tree.folder, "push", "origin", "main", "zebra", environment=tree.environment)
        )
        for times in (1, 2, 3):
            await killed.kill_when_begun(times)
            await killed.start()
        await pushing
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(builds := await coordinator.admin.builds(project)) < 2:
                await asyncio.sleep(0.02)
        by_branch = {build["branch"]: build for build in builds}
        assert by_branch["zebra"]["state"] == "queued"
        assert by_branch["main"]["state"] == "failed"
        assert "ended 3 times while it read this push" in by_branch["main"]["reason"]


@pytest.mark.timeout(240)
async def test_a_delivery_that_takes_three_processes_down_fails_with_its_build(
    repository: Repository, tmp_path: Path
) -> None:
    async with killed_coordinator(tmp_path) as (killed, coordinator):
        project, hook = await remote_project(coordinator, repository.url)
        sha = await repository.push(slow_to_read())
        payload = push_payload(repository.url, sha)
        (await hook.github("push", payload, delivery="d", wait=0)).expect(202)
        for times in (1, 2, 3):
            await killed.kill_when_begun(times)
            await killed.start()
        delivery = await until_settled(hook, "d")
        assert delivery["status"] == "failed"
        assert "ended 3 times while it read this push" in delivery["reason"]
        [build] = await coordinator.admin.builds(project)
        assert (build["state"], build["commitHash"]) == ("failed", sha)
        assert "ended 3 times" in build["reason"]
        await try_it_again(hook)


async def try_it_again(hook: Hook) -> None:
    """Nobody kills it any more: a redelivery is read as if nothing had been."""
    path = f"/api/projects/{hook.project['id']}/deliveries/d/redeliver"
    (await hook.coordinator.admin.post(path)).expect(202)
    assert (await until_settled(hook, "d"))["status"] == "processed"
