"""What happens by itself at set times: old deliveries go, repositories are packed."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import obstore
import pytest

from coordinator.git.repositories import HostedRepositories
from coordinator.objects.stores import open_store, remove_staged
from coordinator.timer import Timer
from tests.integration.coordinator_fixture import (
    ONE_STEP,
    Coordinator,
    WorkTree,
    eventually,
    new_work_tree,
    open_coordinator,
)
from tests.integration.forge_fixture import Hook, open_forge, push_payload, remote_project

DAY_MICROSECONDS = 24 * 3600 * 1_000_000


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    settings = {"allow_http_repositories": True, "allow_private_addresses": True}
    async with open_coordinator(tmp_path, **settings) as coordinator:
        yield coordinator


def make_older(coordinator: Coordinator, delivery_id: str, days: int) -> None:
    with closing(sqlite3.connect(coordinator.data / "pushrod.db")) as connection, connection:
        connection.execute(
            "UPDATE deliveries SET received_at = received_at - ? WHERE delivery_id = ?",
            (days * DAY_MICROSECONDS, delivery_id),
        )


async def ids_of(hook: Hook) -> list[str]:
    return [delivery["deliveryId"] for delivery in await hook.deliveries()]


async def test_deliveries_go_after_their_time_and_their_builds_stay(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    async with open_forge(tmp_path) as forge:
        repository = await forge.new_repository(tmp_path / "tree")
        project, hook = await remote_project(coordinator, repository.url)
        sha = await repository.push({".pushrod.yml": ONE_STEP})
        for name in ("old", "young"):
            answer = await hook.github("push", push_payload(repository.url, sha), delivery=name)
            assert answer.json["status"] == "processed"
        forge.status = 503
        await hook.github("push", push_payload(repository.url, sha), delivery="waits", wait=0)
        await coordinator.stop()
        make_older(coordinator, "old", 31)
        make_older(coordinator, "young", 29)
        make_older(coordinator, "waits", 31)
        await coordinator.start()

        async def old_is_gone() -> bool:
            return "old" not in await ids_of(hook)

        await eventually(old_is_gone)
        assert sorted(await ids_of(hook)) == ["waits", "young"]
        path = f"/api/projects/{project['id']}/deliveries"
        assert (await coordinator.admin.get(path)).json["pagination"]["total"] == 2
        assert len(await coordinator.admin.builds(project)) == 2


async def test_a_packed_repository_has_everything_it_had_while_pushes_go_on(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    admin = coordinator.admin
    project = await admin.new_project()
    tree = await new_work_tree(tmp_path, admin, project)
    commits = []
    for number in range(12):
        commits.append(await tree.commit({"file": str(number)}))
        await tree.push(f"HEAD:refs/heads/b{number}")
    dropped = await tree.commit({"file": "dropped"})
    await tree.push("HEAD:refs/heads/gone")
    await tree.push(":refs/heads/gone")
    repositories = HostedRepositories(coordinator.data / "repositories")
    path = coordinator.repository(project)
    loose_before = len(list(path.glob("objects/??/*")))

    async def push_more() -> None:
        for number in range(5):
            commits.append(await tree.commit({"more": str(number)}))
            await tree.push("HEAD:refs/heads/more")

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(repositories.tidy(project["id"]))
        tasks.create_task(push_more())
    for _ in range(2):  # what is packed in one run is removed as loose objects in the next
        await repositories.tidy(project["id"])
    assert len(list(path.glob("objects/??/*"))) < loose_before
    assert not list(path.glob("**/*.lock"))
    for commit in (*commits, dropped):
        assert await repositories.commit(project["id"], commit) is not None
    refs = await repositories.refs(project["id"])
    assert refs["refs/heads/more"] == commits[-1]
    assert len(refs) == 13
    copy = WorkTree(tmp_path, tree.environment)
    await copy.git("clone", "-q", "-b", "b3", project["pushUrl"], "copy")
    assert (tmp_path / "copy/file").read_text() == "3"


async def test_a_job_runs_at_the_start_and_again_whatever_it_raised() -> None:
    runs = 0
    thrice = asyncio.Event()

    async def work() -> None:
        nonlocal runs
        runs += 1
        if runs == 3:
            thrice.set()
        raise RuntimeError("said in the log")

    timer = Timer()
    timer.every(0.01, "test", work)
    running = asyncio.create_task(timer.run())
    async with asyncio.timeout(60):
        await thrice.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_the_end_waits_for_a_job_that_is_running_and_never_runs_it_twice_at_once() -> None:
    entered, at_once, most, ended = asyncio.Event(), 0, 0, False

    async def work() -> None:
        nonlocal at_once, most, ended
        at_once += 1
        most = max(most, at_once)
        entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended = True
            at_once -= 1

    timer = Timer()
    timer.every(0.005, "test", work)
    running = asyncio.create_task(timer.run())
    async with asyncio.timeout(60):
        await entered.wait()
    await asyncio.sleep(0.05)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert (most, ended) == (1, True)


async def test_what_killed_writes_left_is_removed_at_the_next_start(tmp_path: Path) -> None:
    async with open_coordinator(tmp_path) as coordinator:
        await coordinator.stop()
        attempt = coordinator.data / "objects" / "logs" / "an-attempt"
        blobs = coordinator.data / "objects" / "blobs" / "default" / "ab"
        left = [attempt / "text#1", attempt / "frames#12", blobs / ("ab" * 32 + "#1")]
        whole = [attempt / "text", blobs / ("ab" * 32)]
        for path in (*left, *whole):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"half")
            os.utime(path, (1_000_000_000, 1_000_000_000))
        under_way = attempt / "text#2"
        under_way.write_bytes(b"half")
        os.utime(under_way, (time.time() + 60, time.time() + 60))
        await coordinator.start()

        async def gone() -> bool:
            return not any(path.exists() for path in left)

        await eventually(gone)
        assert [path for path in (*whole, under_way) if not path.exists()] == []


async def test_the_store_writes_beside_its_objects_under_names_that_are_removed(
    tmp_path: Path,
) -> None:
    """Only then is what a kill leaves found: a write is stopped in its middle, and looked at."""
    store, folder = open_store(tmp_path), tmp_path / "logs" / "an-attempt"
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        yield b"x" * 1024
        begun.set()
        await go_on.wait()
        yield b"y"

    writing = asyncio.ensure_future(
        obstore.put_async(store, "logs/an-attempt/text", pieces(), chunk_size=512)
    )
    await begun.wait()
    try:
        await eventually(lambda: _found(folder))
        await remove_staged(tmp_path, before=time.time() + 60)
        assert await _found(folder) == []
    finally:
        go_on.set()
        await asyncio.wait([writing])
        writing.exception()


async def _found(folder: Path) -> list[Path]:
    return list(folder.glob("*"))
