"""What nothing reaches any more goes from a repository, and nothing that anything reaches."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from coordinator.git.garbage import DAYS_ASIDE, KEPT, _drop_loose
from coordinator.services.builds.deletions import Deletions
from coordinator.services.core import utc_now
from coordinator.services.upkeep.garbage import Garbage
from coordinator.services.upkeep.retention import Retention
from tests.integration.coordinator_fixture import (
    ONE_STEP,
    Coordinator,
    WorkTree,
    git,
    new_work_tree,
    open_coordinator,
    try_git,
)
from tests.integration.core_fixture import builds_over
from tests.integration.forge_fixture import open_forge, push_payload, remote_project

MONTH = timedelta(days=31)
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {size}\n"


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with open_coordinator(tmp_path) as coordinator:
        yield coordinator


@pytest.fixture
async def project(coordinator: Coordinator) -> dict[str, Any]:
    return await coordinator.admin.new_project()


@pytest.fixture
async def tree(coordinator: Coordinator, project: dict[str, Any], tmp_path: Path) -> WorkTree:
    tree = await new_work_tree(tmp_path, coordinator.admin, project)
    await tree.commit({".pushrod.yml": ONE_STEP})
    await tree.push()
    return tree


@asynccontextmanager
async def garbage_at(coordinator: Coordinator, later: timedelta) -> AsyncIterator[Garbage]:
    """As it would work so much later, beside the coordinator."""

    def now() -> datetime:
        return utc_now() + later

    async with builds_over(coordinator.data, now) as builds:
        core = builds.core
        yield Garbage(core, Retention(core), Deletions(core))


async def collect(coordinator: Coordinator, later: timedelta) -> None:
    async with garbage_at(coordinator, later) as garbage:
        await garbage.collect()


def make_old(repository: Path) -> None:
    """All its objects came a month ago, and nobody has looked since."""
    then = (utc_now() - MONTH).timestamp()
    for one in (repository / "objects").rglob("*"):
        if one.is_file():
            os.utime(one, (then, then))
    (repository / "garbage" / "roots").unlink(missing_ok=True)


async def has(coordinator: Coordinator, project: dict[str, Any], sha: str) -> bool:
    found = await try_git(coordinator.repository(project), "cat-file", "-e", sha)
    return found.exit_code == 0


async def a_gone_branch(tree: WorkTree, name: str) -> str:
    """Its commit, after it was pushed and deleted."""
    await tree.git("checkout", "-q", "-b", name, "main")
    sha = await tree.commit({name: os.urandom(10_000)})
    await tree.push(name)
    await tree.push(f":{name}")
    await tree.git("checkout", "-q", "main")
    return sha


async def delete_builds_of(coordinator: Coordinator, project: dict[str, Any], sha: str) -> None:
    for build in await coordinator.admin.builds(project):
        if build["commitHash"] == sha:
            path = f"/api/projects/{project['id']}/builds/{build['id']}"
            await coordinator.admin.post(f"{path}/cancel")
            (await coordinator.admin.call("DELETE", path)).expect(204)


async def test_a_gone_branchs_commit_stays_while_a_build_names_it_and_goes_after_that(
    coordinator: Coordinator, project: dict[str, Any], tree: WorkTree
) -> None:
    sha = await a_gone_branch(tree, "topic")
    forced = await tree.commit({"x": "1"})
    await tree.push()
    await tree.git("reset", "-q", "--hard", "HEAD~1")
    tip = await tree.commit({"x": "2"})
    await tree.push("+main")
    await collect(coordinator, MONTH)
    for one in (sha, forced, tip):
        assert await has(coordinator, project, one)
    refs = (await git(coordinator.repository(project), "for-each-ref", KEPT)).output
    assert sha in refs
    assert forced in refs
    assert tip not in refs
    # An agent, or anybody, still gets it by its id, and sees no ref of it.
    await tree.git("fetch", "-q", "origin", sha)
    assert sha not in (await tree.git("ls-remote", "origin")).output

    await delete_builds_of(coordinator, project, sha)
    await collect(coordinator, MONTH)
    assert not await has(coordinator, project, sha)
    for one in (forced, tip):
        assert await has(coordinator, project, one)
    checked = await try_git(
        coordinator.repository(project), "fsck", "--full", "--connectivity-only"
    )
    assert checked.exit_code == 0, checked


async def test_what_came_lately_stays_whatever_reaches_it(
    coordinator: Coordinator, project: dict[str, Any], tree: WorkTree
) -> None:
    sha = await a_gone_branch(tree, "topic")
    await delete_builds_of(coordinator, project, sha)
    await collect(coordinator, timedelta(days=2))
    assert await has(coordinator, project, sha)


async def test_what_turns_out_to_be_needed_is_put_back_and_the_rest_deleted_days_later(
    coordinator: Coordinator, project: dict[str, Any], tree: WorkTree
) -> None:
    sha = await a_gone_branch(tree, "topic")
    await delete_builds_of(coordinator, project, sha)
    await collect(coordinator, MONTH)
    assert not await has(coordinator, project, sha)
    shown = (await coordinator.admin.get("/api/storage")).json["projects"][0]
    assert shown["garbageBytes"] > 10_000
    async with garbage_at(coordinator, MONTH) as garbage:
        assert await garbage.core.repositories.restore_garbage(project["id"], {sha})
    assert await has(coordinator, project, sha)
    await collect(coordinator, MONTH * 2)
    assert not await has(coordinator, project, sha)
    await collect(coordinator, MONTH * 2 + timedelta(days=DAYS_ASIDE + 1))
    shown = (await coordinator.admin.get("/api/storage")).json["projects"][0]
    assert shown["garbageBytes"] == 0
    audit = (await coordinator.admin.get("/api/audit-logs?limit=100")).text
    assert "retention.garbage_collected" in audit


async def test_a_repository_that_lost_nothing_is_not_packed_anew(
    coordinator: Coordinator, project: dict[str, Any], tree: WorkTree
) -> None:
    packs = coordinator.repository(project) / "objects" / "pack"
    await collect(coordinator, MONTH)
    before = sorted(packs.iterdir())
    await tree.commit({"y": "1"})
    await tree.push()
    await collect(coordinator, MONTH)
    assert sorted(packs.iterdir()) == before


async def test_nothing_is_collected_while_retention_only_tells(
    coordinator: Coordinator, project: dict[str, Any], tree: WorkTree
) -> None:
    sha = await a_gone_branch(tree, "topic")
    await delete_builds_of(coordinator, project, sha)
    body = {"enforced": False}
    (await coordinator.admin.call("PATCH", "/api/retention", json=body)).expect(200)
    await collect(coordinator, MONTH)
    assert await has(coordinator, project, sha)


async def test_pushes_and_fetches_go_on_while_garbage_is_collected(
    coordinator: Coordinator, project: dict[str, Any], tree: WorkTree, tmp_path: Path
) -> None:
    shas = []
    for number in range(3):
        gone = await a_gone_branch(tree, f"gone-{number}")
        await delete_builds_of(coordinator, project, gone)
        make_old(coordinator.repository(project))
        # Today: by a later clock what is pushed meanwhile would be as old.
        collecting = asyncio.create_task(collect(coordinator, timedelta()))
        shas.append(await tree.commit({f"file-{number}": os.urandom(50_000)}))
        await tree.push()
        copied = tmp_path / f"clone-{number}"
        await git(
            tmp_path, "clone", "-q", project["pushUrl"], str(copied), environment=tree.environment
        )
        await collecting
        assert not await has(coordinator, project, gone)
    for sha in shas:
        assert await has(coordinator, project, sha)
    checked = await try_git(coordinator.repository(project), "fsck", "--full")
    assert checked.exit_code == 0, checked


async def test_what_a_push_brings_while_git_looks_stays_though_it_is_aside_as_well(
    tmp_path: Path,
) -> None:
    """Git looks for what is reached, the push comes, and git puts aside what it had not seen."""
    repository, aside = tmp_path / "some.git", tmp_path / "aside"
    await git(tmp_path, "init", "-q", "--bare", str(repository))
    (tmp_path / "content").write_bytes(os.urandom(1000))
    await git(repository, "hash-object", "-w", str(tmp_path / "content"))
    [loose] = (repository / "objects").glob("??/*")
    aside.mkdir()
    name = loose.parent.name + loose.name
    packing = f"echo {name} | git pack-objects -q {aside}/pack"
    subprocess.run(["sh", "-c", packing], cwd=repository, check=True, stdout=subprocess.DEVNULL)
    before = utc_now().timestamp() - 60

    _drop_loose(repository / "objects", aside, before)
    assert loose.exists()

    os.utime(loose, (before - 1, before - 1))
    _drop_loose(repository / "objects", aside, before)
    assert not loose.exists()


STAGES = [
    "garbage/*/pack",
    "objects/pack/.tmp-*",
    "objects/pack/pack-*.pack",
    "objects/pack/pack-*.idx",
    "garbage/*/pack/*.pack",
    "garbage/*/pack/*.idx",
]
"""What git makes, in its order."""


async def test_a_kill_at_any_time_leaves_all_that_is_needed(
    coordinator: Coordinator, project: dict[str, Any], tree: WorkTree
) -> None:
    kept, repository = await a_gone_branch(tree, "kept"), coordinator.repository(project)
    killed = 0
    for number, stage in enumerate(STAGES):
        gone = await a_gone_branch(tree, f"gone-{number}")
        await delete_builds_of(coordinator, project, gone)
        await tree.commit({f"main-{number}": "changes what is reached"})
        await tree.push()
        (repository / "garbage" / "roots").unlink(missing_ok=True)  # or it is done for two weeks
        before = set(repository.glob(stage))
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(Path(__file__).with_name("garbage_process.py")),
            str(coordinator.data), str(MONTH.days), start_new_session=True,
        )  # fmt: skip
        while process.returncode is None and set(repository.glob(stage)) <= before:
            await asyncio.sleep(0.002)
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            killed += 1
        await process.wait()
        checked = await try_git(repository, "fsck", "--full", "--connectivity-only")
        assert checked.exit_code == 0, checked
    assert killed >= len(STAGES) - 1  # what comes last may be over before it is seen
    await collect(coordinator, MONTH)
    assert await has(coordinator, project, kept)
    assert not await has(coordinator, project, gone)


async def test_what_was_fetched_for_builds_that_are_gone_goes_from_a_mirror_and_comes_back(
    tmp_path: Path,
) -> None:
    allowed = {"allow_http_repositories": True, "allow_private_addresses": True}
    async with open_coordinator(tmp_path, **allowed) as coordinator, open_forge(tmp_path) as forge:
        repository = await forge.new_repository(tmp_path / "tree")
        project, hook = await remote_project(coordinator, repository.url)
        first = await repository.push({".pushrod.yml": ONE_STEP})
        await hook.github("push", push_payload(repository.url, first))
        second = await repository.push({"x": "1"}, ref="topic")
        pushed = push_payload(repository.url, second, ref="refs/heads/topic")
        await hook.github("push", pushed, delivery="second")
        assert await has(coordinator, project, second)
        await repository.tree.git("push", "-q", "origin", ":topic")
        gone = push_payload(repository.url, None, ref="refs/heads/topic")
        await hook.github("push", gone, delivery="gone")
        await delete_builds_of(coordinator, project, second)
        for days in (31, 31 + DAYS_ASIDE + 1, 32 + DAYS_ASIDE + 1):
            assert await has(coordinator, project, second), days
            await collect(coordinator, timedelta(days=days))
        refs = (await git(coordinator.repository(project), "for-each-ref")).output
        assert not await has(coordinator, project, second), refs
        assert await has(coordinator, project, first)
        body = {"workflowId": await coordinator.admin.new_workflow(project), "commitHash": second}
        path = f"/api/projects/{project['id']}/builds"
        await repository.tree.git("push", "-q", "origin", f"{second}:refs/heads/topic")
        (await coordinator.admin.post(path, body)).expect(201)
        assert await has(coordinator, project, second)


async def upload(coordinator: Coordinator, content: bytes) -> str:
    oid = hashlib.sha256(content).hexdigest()
    url = f"/git/default/shop.git/info/lfs/objects/{oid}"
    (await coordinator.admin.call("PUT", url, data=content)).expect(200)
    return oid


async def announce(coordinator: Coordinator, oid: str, size: int) -> None:
    body = {"operation": "upload", "objects": [{"oid": oid, "size": size}]}
    path = "/git/default/shop.git/info/lfs/objects/batch"
    (await coordinator.admin.post(path, body)).expect(200)


def oids_of(coordinator: Coordinator) -> set[str]:
    with closing(sqlite3.connect(coordinator.data / "pushrod.db")) as connection:
        return {oid for (oid,) in connection.execute("SELECT oid FROM lfs_objects")}


def grow_older(coordinator: Coordinator, days: int) -> None:
    with closing(sqlite3.connect(coordinator.data / "pushrod.db")) as connection, connection:
        connection.execute(
            "UPDATE lfs_objects SET created_at = created_at - ?", (days * 86_400 * 1_000_000,)
        )


async def test_lfs_objects_go_that_no_commit_points_to_and_none_that_is_about_to_be_pushed(
    coordinator: Coordinator, project: dict[str, Any], tree: WorkTree
) -> None:
    contents = {name: name.encode() * 50 for name in ("used", "old", "gone", "lone", "announced")}
    oids = {name: await upload(coordinator, content) for name, content in contents.items()}

    def pointer(name: str) -> dict[str, str | bytes]:
        return {name: POINTER.format(oid=oids[name], size=len(contents[name]))}

    await tree.commit(pointer("old"))
    await tree.commit({"old": "", **pointer("used")})
    await tree.push()
    await tree.git("checkout", "-q", "-b", "topic", "main")
    gone = await tree.commit(pointer("gone"))
    await tree.push("topic")
    await tree.push(":topic")
    await tree.git("checkout", "-q", "main")
    await collect(coordinator, timedelta(days=1))
    assert oids_of(coordinator) == set(oids.values())

    grow_older(coordinator, 8)
    await announce(coordinator, oids["announced"], len(contents["announced"]))
    await collect(coordinator, timedelta(0))
    # A build of the gone branch is still there.
    left = {oids[name] for name in ("used", "old", "gone", "announced")}
    assert oids_of(coordinator) == left

    await delete_builds_of(coordinator, project, gone)
    await collect(coordinator, MONTH)
    assert oids["gone"] in oids_of(coordinator)  # its commit is only put aside
    await collect(coordinator, MONTH + timedelta(days=DAYS_ASIDE + 1))
    assert oids_of(coordinator) == {oids["used"], oids["old"]}
    audit = (await coordinator.admin.get("/api/audit-logs?limit=100")).text
    assert "retention.lfs_deleted" in audit
    answer = await coordinator.admin.get(f"/git/default/shop.git/info/lfs/objects/{oids['used']}")
    assert answer.expect(200).body == contents["used"]
