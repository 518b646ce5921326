"""A full disk at each place of the coordinator: what is refused, what is said, how it goes on.

A full backup folder is in test_backup.py, full disks of an agent are in test_full_agent_disks.py.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from coordinator.storage.soundness import DatabaseUnusable
from tests.integration.coordinator_fixture import (
    ONE_STEP,
    AgentCaller,
    Answer,
    Coordinator,
    eventually,
    new_work_tree,
    open_coordinator,
    step_of,
    try_git,
)
from tests.integration.small_disks import filled, room_in, small_disk

LINES = b"".join(b"line %d of the log\n" % number for number in range(10_000))
"""More than the database takes of a log."""
FULL = "the coordinator's disk is full: nothing was changed; try again later"
ANOTHER = {"accountId": "default", "name": "another"}
OBJECT = b"an object"
OBJECT_URL = f"/git/default/shop.git/info/lfs/objects/{hashlib.sha256(OBJECT).hexdigest()}"


def assert_refused(answer: Answer) -> None:
    assert (answer.status, answer.json["error"]) == (507, FULL)
    assert int(answer.headers["Retry-After"]) > 0


async def a_running_step(
    coordinator: Coordinator,
) -> tuple[AgentCaller, dict[str, Any], dict[str, Any]]:
    agent, project = await coordinator.admin.new_agent(), await coordinator.admin.new_project()
    build = await coordinator.admin.new_build(project, step_of("test"), step_of("next", "test"))
    return agent, build, await agent.take()


async def complete(agent: AgentCaller, spec: dict[str, Any]) -> Answer:
    log = {"textBytes": len(LINES), "sha256": hashlib.sha256(LINES).hexdigest()}
    return await agent.complete(spec, log=log)


async def disk_check(coordinator: Coordinator) -> str:
    return str((await coordinator.nobody.get("/readyz")).json["checks"]["disk"])


async def says_full(coordinator: Coordinator) -> bool:
    return (await disk_check(coordinator)).endswith("disk is full")


async def has_room(coordinator: Coordinator) -> bool:
    return await disk_check(coordinator) in ("ok", "less than 64 MiB are free")


async def assert_whole(coordinator: Coordinator, spec: dict[str, Any]) -> None:
    """The step has succeeded, and each of its lines is there once."""
    log = await coordinator.admin.get(f"/api/steps/{spec['stepId']}/log")
    assert log.expect(200).body == LINES
    build = await coordinator.admin.build(spec["buildId"])
    assert build["steps"][0]["status"] == "SUCCESS"


async def test_a_database_without_room_refuses_what_changes_it_and_loses_no_row(
    tmp_path: Path,
) -> None:
    """Objects lie elsewhere; but what is taken of a log is noted in the database."""
    with small_disk(tmp_path / "small") as small:
        async with open_coordinator(small, objects=str(tmp_path / "objects")) as coordinator:
            agent, build, spec = await a_running_step(coordinator)
            with filled(coordinator.data):
                assert_refused(await coordinator.admin.post("/api/projects", ANOTHER))
                assert_refused(await agent.append(spec, 0, LINES))
                assert_refused(await agent.upload(spec, "out", b"content"))
                assert_refused(await complete(agent, spec))
                assert (await coordinator.admin.build(build["id"]))["status"] == "RUNNING"
                await eventually(lambda: says_full(coordinator))
            (await agent.append(spec, 0, LINES)).expect(204)
            (await agent.upload(spec, "out", b"content")).expect(201)
            (await complete(agent, spec)).expect(200)
            await assert_whole(coordinator, spec)
            projects = await coordinator.admin.get("/api/projects?accountId=default")
            assert [one["slug"] for one in projects.expect(200).json] == ["shop"]
            (await coordinator.admin.post("/api/projects", ANOTHER)).expect(201)
            last = await agent.take()
            (await agent.complete(last)).expect(200)
            assert (await coordinator.admin.build(build["id"]))["status"] == "SUCCESS"
            await eventually(lambda: has_room(coordinator))


async def test_a_push_that_the_database_has_no_room_for_is_built_once_it_has(
    tmp_path: Path,
) -> None:
    with small_disk(tmp_path / "small") as small:
        (tmp_path / "repositories").mkdir()
        (small / "data").mkdir(mode=0o700)
        (small / "data" / "repositories").symlink_to(tmp_path / "repositories")
        async with open_coordinator(small) as coordinator:
            project = await coordinator.admin.new_project()
            tree = await new_work_tree(tmp_path, coordinator.admin, project)
            await tree.commit({".pushrod.yml": ONE_STEP})
            with filled(small):
                pushed = await tree.push()
                assert "your push is stored, but its build could not be made yet" in pushed.errors
                assert "the coordinator's disk is full" in pushed.errors
                assert await coordinator.admin.builds(project) == []
            [build] = await eventually(lambda: coordinator.admin.builds(project))
            assert build["branch"] == "main"


async def test_objects_without_room_refuse_logs_and_files_and_lose_no_line(tmp_path: Path) -> None:
    with small_disk(tmp_path / "small") as small:
        async with open_coordinator(tmp_path, objects=str(small / "objects")) as coordinator:
            agent, _, spec = await a_running_step(coordinator)
            half = len(LINES) // 2
            (await agent.append(spec, 0, LINES[:half])).expect(204)
            with filled(small):
                assert_refused(await agent.append(spec, half, LINES[half:]))
                assert_refused(await agent.upload(spec, "small", b"content"))
                assert_refused(await agent.upload(spec, "large", bytes(1 << 20)))
                answer = await coordinator.admin.call("PUT", OBJECT_URL, data=OBJECT)
                assert (answer.status, answer.json["message"]) == (507, f"pushrod: {FULL}")
                await eventually(lambda: says_full(coordinator))
                # What needs no object goes on.
                (await coordinator.admin.post("/api/projects", ANOTHER)).expect(201)
            before = room_in(small)
            (await agent.append(spec, half, LINES[half:])).expect(204)
            (await agent.upload(spec, "small", b"content")).expect(201)
            (await agent.upload(spec, "large", bytes(1 << 20))).expect(201)
            (await coordinator.admin.call("PUT", OBJECT_URL, data=OBJECT)).expect(200)
            (await complete(agent, spec)).expect(200)
            await assert_whole(coordinator, spec)
            # Nothing of what was refused is left over.
            assert before - room_in(small) < (1 << 20) + 400_000
            await eventually(lambda: has_room(coordinator))


async def test_repositories_without_room_refuse_pushes_and_lose_no_ref(tmp_path: Path) -> None:
    async with open_coordinator(tmp_path) as coordinator:
        with small_disk(coordinator.data / "repositories") as small:
            project = await coordinator.admin.new_project()
            tree = await new_work_tree(tmp_path, coordinator.admin, project)
            first = await tree.commit({".pushrod.yml": ONE_STEP})
            await tree.push()
            before = room_in(small)
            second = await tree.commit({"random": os.urandom(1 << 20)})
            with filled(small):
                refused = await try_git(
                    tree.folder, "push", "origin", "main", environment=tree.environment
                )
                assert refused.exit_code != 0
                assert "No space left on device" in refused.errors
                assert (await tree.git("ls-remote", "origin", "main")).output.startswith(first)
                assert_refused(await coordinator.admin.post("/api/projects", ANOTHER))
                await eventually(lambda: says_full(coordinator))
            assert before - room_in(small) < 100_000
            await tree.push()
            assert (await tree.git("ls-remote", "origin", "main")).output.startswith(second)
            assert [one["number"] for one in await coordinator.admin.builds(project)] == [2, 1]
            (await coordinator.admin.post("/api/projects", ANOTHER)).expect(201)
            await eventually(lambda: has_room(coordinator))


async def test_a_coordinator_that_finds_no_room_to_start_says_so(tmp_path: Path) -> None:
    with small_disk(tmp_path / "small") as small:
        async with open_coordinator(small) as coordinator:
            agent, _, spec = await a_running_step(coordinator)
            (await agent.append(spec, 0, LINES)).expect(204)
            await coordinator.stop()
            with filled(coordinator.data):
                with pytest.raises(DatabaseUnusable, match="disk is full"):
                    await coordinator.start()
            await coordinator.start()
            (await complete(agent, spec)).expect(200)
            await assert_whole(coordinator, spec)
