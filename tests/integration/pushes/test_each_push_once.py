"""Each push is built once: after crashes, of many at once, and of a client that was killed."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.coordinator_fixture import (
    ONE_STEP,
    Caller,
    Coordinator,
    WorkTree,
    eventually,
    git,
    open_coordinator,
)
from tests.integration.pushes.pushers import remote_lines


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with open_coordinator(tmp_path) as coordinator:
        yield coordinator


async def test_refs_that_moved_unrecorded_are_built_once_after_a_restart(
    coordinator: Coordinator, admin: Caller, project: dict[str, Any], tree: WorkTree
) -> None:
    """As after a crash between the ref's move and its record."""
    await tree.commit({".pushrod.yml": ONE_STEP})
    await tree.push()
    await coordinator.stop()
    lost = await tree.commit({"x": "1"})
    bare = str(coordinator.repository(project))
    for branch in ("main", "other"):
        await git(tree.folder, "push", "-q", bare, f"main:{branch}")
    await coordinator.start()

    async def three() -> bool:
        return len(await admin.builds(project)) >= 3

    await eventually(three)
    await coordinator.restart()
    await tree.push("main:third")  # whatever the restart does, this comes after it
    builds = await admin.builds(project)
    assert [build["number"] for build in builds] == [4, 3, 2, 1]
    assert {build["branch"] for build in builds if build["commitHash"] == lost} == {
        "main",
        "other",
        "third",
    }


async def test_each_push_to_a_branch_is_built_also_when_the_next_came_before_it_was_read(
    coordinator: Coordinator, admin: Caller, project: dict[str, Any], tree: WorkTree
) -> None:
    await tree.commit({".pushrod.yml": ONE_STEP})
    await tree.push()
    await coordinator.stop()
    bare, pushed = str(coordinator.repository(project)), []
    for number in range(3):
        pushed.append(await tree.commit({"x": str(number)}))
        await git(tree.folder, "push", "-q", "--force", bare, "main:main", "main:new")
        await git(tree.folder, "reset", "-q", "--hard", "HEAD~1")
    await coordinator.start()

    async def seven() -> bool:
        return len(await admin.builds(project)) >= 7

    await eventually(seven)
    built = [(build["branch"], build["commitHash"]) for build in await admin.builds(project)]
    for branch in ("main", "new"):
        assert [sha for name, sha in built if name == branch][:3] == pushed[::-1]


async def test_a_project_whose_repository_is_broken_does_not_stop_the_others(
    coordinator: Coordinator, admin: Caller, project: dict[str, Any], tree: WorkTree
) -> None:
    broken = await admin.new_project("acme", "broken")
    await tree.commit({".pushrod.yml": ONE_STEP})
    await coordinator.stop()
    coordinator.repository(broken).rename(coordinator.data / "gone")
    await git(tree.folder, "push", "-q", str(coordinator.repository(project)), "main")
    await coordinator.start()

    async def built() -> bool:
        return len(await admin.builds(project)) == 1

    await eventually(built)


async def test_50_concurrent_pushes_make_50_builds_with_numbers_of_their_own(
    admin: Caller, project: dict[str, Any], tree: WorkTree
) -> None:
    await tree.commit({".pushrod.yml": ONE_STEP})
    results = await asyncio.gather(*(tree.push(f"main:b{n}") for n in range(50)))
    builds = await admin.builds(project)
    assert sorted(build["number"] for build in builds) == list(range(1, 51))
    assert {build["branch"] for build in builds} == {f"b{n}" for n in range(50)}
    told = {build["url"] for build in builds} & set(
        re.findall(r"http\S+/builds/\S+", "".join(result.errors for result in results))
    )
    assert len(told) == 50


async def test_each_of_many_pushers_is_told_of_the_own_build(
    admin: Caller, project: dict[str, Any], tree: WorkTree
) -> None:
    await tree.commit({".pushrod.yml": ONE_STEP})
    branches = [f"b{n}" for n in range(12)]
    results = await asyncio.gather(*(tree.push(f"main:{branch}") for branch in branches))
    for branch, result in zip(branches, results, strict=True):
        lines = remote_lines(result.errors)
        assert any(f"({branch})" in line for line in lines), (branch, lines)


async def test_a_push_whose_client_is_killed_is_built_or_was_not_received(
    coordinator: Coordinator, admin: Caller, project: dict[str, Any], tree: WorkTree
) -> None:
    await tree.commit({".pushrod.yml": ONE_STEP, "big": b"x" * 1000})
    for number, delay_ms in enumerate((20, 60, 120, 200)):
        process = await asyncio.create_subprocess_exec(
            *("git", "push", "-q", "origin", f"main:b{number}"),
            cwd=tree.folder,
            env=dict(tree.environment),
            stderr=asyncio.subprocess.DEVNULL,
        )
        await asyncio.sleep(delay_ms / 1000)
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
        await process.wait()
    await tree.push("main:last")

    async def in_step() -> bool:
        listed = await git(coordinator.repository(project), "for-each-ref", "refs/heads")
        refs = {line.split("refs/heads/")[1] for line in listed.output.splitlines()}
        built = [build["branch"] for build in await admin.builds(project)]
        assert len(built) == len(set(built)), "built twice"
        return refs == set(built)

    await eventually(in_step)
