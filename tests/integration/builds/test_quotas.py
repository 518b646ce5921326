"""What a project may hold of what all projects share, and what happens where it is full."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from coordinator.storage.tables.step_tables import WAITS
from tests.integration.coordinator_fixture import (
    Coordinator,
    new_work_tree,
    open_coordinator,
    step_of,
)

Open = Callable[..., AbstractAsyncContextManager[Coordinator]]
WORKFLOW = "on: {push: {}}\nsteps: [{name: a, image: base, run: 'true'}]\n"


@pytest.fixture
def opened(tmp_path: Path) -> Open:
    @asynccontextmanager
    async def opened(**settings: int) -> AsyncIterator[Coordinator]:
        async with open_coordinator(tmp_path, **settings) as coordinator:
            yield coordinator

    return opened


async def test_a_build_beyond_the_queue_is_a_429_and_room_comes_back_with_a_cancel(
    opened: Open,
) -> None:
    async with opened(project_max_queued_builds=2) as coordinator:
        admin = coordinator.admin
        project = await admin.new_project()
        workflow = await admin.new_workflow(project, step_of("a"))
        path, body = f"/api/projects/{project['id']}/builds", {"workflowId": workflow}
        builds = [(await admin.post(path, body)).expect(201).json for _ in range(2)]
        refused = (await admin.post(path, body)).expect(429)
        assert "project_max_queued_builds" in refused.text
        assert int(refused.headers["Retry-After"]) > 0
        other = await admin.new_project(name="other")
        await admin.new_build(other, step_of("a"))
        (await admin.post(f"{path}/{builds[0]['id']}/cancel")).expect(200)
        (await admin.post(path, body)).expect(201)


async def test_steps_beyond_those_that_may_wait_are_a_429(opened: Open) -> None:
    async with opened(project_max_waiting_steps=3) as coordinator:
        admin = coordinator.admin
        project = await admin.new_project()
        workflow = await admin.new_workflow(project, step_of("a"), step_of("b", "a"))
        path, body = f"/api/projects/{project['id']}/builds", {"workflowId": workflow}
        (await admin.post(path, body)).expect(201)
        assert "project_max_waiting_steps" in (await admin.post(path, body)).expect(429).text


@pytest.mark.parametrize("state", ["blocked", "resolving", "waiting", "in-line", "ready"])
async def test_whatever_a_step_waits_for_it_counts_among_those_that_wait(
    opened: Open, state: str
) -> None:
    async with opened(project_max_waiting_steps=1) as coordinator:
        admin = coordinator.admin
        project = await admin.new_project()
        workflow = await admin.new_workflow(project, step_of("a"))
        path, body = f"/api/projects/{project['id']}/builds", {"workflowId": workflow}
        (await admin.post(path, body)).expect(201)
        with sqlite3.connect(coordinator.data / "pushrod.db") as connection:
            connection.execute("UPDATE steps SET state = ?", [state])
            plan = connection.execute(
                "EXPLAIN QUERY PLAN SELECT 1 FROM steps WHERE project_id = '' AND " + WAITS
            ).fetchall()
        connection.close()
        assert "project_max_waiting_steps" in (await admin.post(path, body)).expect(429).text
        assert "ix_steps_waiting" in str(plan)


async def test_a_push_beyond_the_queue_is_a_failed_build_that_says_so_to_the_one_who_pushed(
    opened: Open, tmp_path: Path
) -> None:
    async with opened(project_max_queued_builds=1) as coordinator:
        project = await coordinator.admin.new_project()
        tree = await new_work_tree(tmp_path, coordinator.admin, project)
        await tree.commit({".pushrod.yml": WORKFLOW})
        await tree.push("HEAD:refs/heads/main")
        told = await tree.push("HEAD:refs/heads/second")
        assert "project_max_queued_builds" in told.errors
        builds = await coordinator.admin.builds(project)
        assert sorted(one["state"] for one in builds) == ["failed", "queued"]
        [failed] = [one for one in builds if one["state"] == "failed"]
        [queued] = [one for one in builds if one["state"] == "queued"]
        path = f"/api/projects/{project['id']}/builds"
        (await coordinator.admin.post(f"{path}/{queued['id']}/cancel")).expect(200)
        again = (await coordinator.admin.post(f"{path}/{failed['id']}/retry")).expect(201).json
        assert again["state"] == "queued"


async def test_stored_bytes_are_counted_once_and_given_back_with_the_build(opened: Open) -> None:
    async with opened(project_max_stored_bytes=100) as coordinator:
        admin = coordinator.admin
        project = await admin.new_project()
        build = await admin.new_build(project, step_of("a"))
        agent = await admin.new_agent()
        spec = await agent.take()
        for _ in range(2):  # an upload may be repeated
            (await agent.upload(spec, "a.bin", b"x" * 60)).expect(201)
        refused = await agent.upload(spec, "b.bin", b"y" * 60)
        assert "project_max_stored_bytes" in refused.expect(413).text
        (await agent.append(spec, 0, b"z" * 40)).expect(204)
        (await agent.complete(spec)).expect(200)

        path = f"/api/projects/{project['id']}/builds"
        retried = await admin.post(f"{path}/{build['id']}/retry")
        assert "project_max_stored_bytes" in retried.expect(429).text
        tenant = {"X-Tenant-ID": project["accountUuid"]}
        gone = await admin.call("DELETE", f"/api/v1/builds/{build['id']}", headers=tenant)
        gone.expect(204)
        await admin.new_build(project, step_of("a"))
