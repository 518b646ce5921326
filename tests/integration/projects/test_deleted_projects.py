"""A project is deleted with all that is its, and nothing that is others'."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from coordinator.storage.tables import metadata
from tests.integration.coordinator_fixture import (
    ONE_STEP,
    AgentCaller,
    Caller,
    Coordinator,
    eventually,
    new_work_tree,
    try_git,
)


@pytest.fixture
async def agent(admin: Caller) -> AgentCaller:
    return await (await admin.new_token(kind="registration")).new_agent()


def count(coordinator: Coordinator, table: str, column: str, value: str) -> int:
    with closing(sqlite3.connect(coordinator.data / "pushrod.db")) as connection:
        query = f"SELECT count(*) FROM {table} WHERE {column} = ?"
        return int(connection.execute(query, (value,)).fetchone()[0])


def rows_of(coordinator: Coordinator, project: dict[str, Any]) -> dict[str, int]:
    """How many rows each table has that name the project."""
    found = {
        f"{table.name}.{column}": count(coordinator, table.name, column, project["id"])
        for table in metadata.sorted_tables
        for column in ("project_id", "scope_id")
        if column in table.c and table.name not in ("audit_log", "audit_counts")
    }
    return {name: rows for name, rows in found.items() if rows}


def objects(coordinator: Coordinator) -> list[str]:
    folder = coordinator.data / "objects"
    return [path.name for path in folder.rglob("*") if path.is_file()]


async def swept(coordinator: Coordinator) -> None:
    async def is_swept() -> bool:
        with closing(sqlite3.connect(coordinator.data / "pushrod.db")) as connection:
            return not connection.execute("SELECT 1 FROM doomed_objects").fetchone()

    await eventually(is_swept)


async def furnish(
    admin: Caller, agent: AgentCaller, folder: Path, name: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A project with one of everything, and its finished build."""
    project = await admin.new_project("default", name)
    path = f"/api/projects/{project['id']}"
    login = {"username": "x", "password": "x"}
    (await admin.call("PUT", f"{path}/secrets/KEY", json={"value": "x"})).expect(200)
    (await admin.call("PUT", f"{path}/registries/h.example", json=login)).expect(200)
    content = b"an object of git lfs"
    oid = hashlib.sha256(content).hexdigest()
    place = f"/git/default/{project['slug']}.git/info/lfs/objects/{oid}"
    (await admin.call("PUT", place, data=content)).expect(200)
    (await admin.call("PATCH", path, json={"name": f"{name} renamed"})).expect(200)
    folder.mkdir()
    tree = await new_work_tree(folder, admin, project)
    await tree.commit({".pushrod.yml": ONE_STEP, "a": name})
    await tree.push()
    spec = await agent.take()
    (await agent.append(spec, 0, f"log of {name}\n".encode())).expect(204)
    (await agent.upload(spec, "out", b"the same bytes")).expect(201)
    (await agent.upload(spec, "own", f"bytes of {name}".encode())).expect(201)
    (await agent.complete(spec)).expect(200)
    (await admin.post(f"{path}/builds/{spec['buildId']}/retry")).expect(201)
    (await agent.complete(await agent.take())).expect(200)
    return project, spec


async def test_nothing_of_a_deleted_project_is_left_and_all_of_the_others_is(
    coordinator: Coordinator, admin: Caller, agent: AgentCaller, tmp_path: Path
) -> None:
    project, spec = await furnish(admin, agent, tmp_path / "a", "first")
    other, kept = await furnish(admin, agent, tmp_path / "b", "second")
    before = rows_of(coordinator, other)
    assert {"secret_values.scope_id", "lfs_objects.project_id", "former_slugs.project_id"} <= set(
        before
    )
    path = f"/api/projects/{project['id']}"
    (await admin.call("DELETE", path)).expect(204)
    await swept(coordinator)
    assert rows_of(coordinator, project) == {}
    assert not coordinator.repository(project).exists()
    for gone in (
        path,
        f"/api/projects/-/builds/{spec['buildId']}",
        f"/api/steps/{spec['stepId']}/log",
    ):
        (await admin.get(gone)).expect(404)
    (await admin.call("DELETE", path)).expect(404)
    assert rows_of(coordinator, other) == before
    assert coordinator.repository(other).exists()
    outputs = f"/api/steps/{kept['stepId']}/artifacts"
    assert (await admin.get(f"{outputs}/out")).expect(200).body == b"the same bytes"
    assert (await admin.get(f"/api/steps/{kept['stepId']}/log")).text == "log of second\n"
    (await admin.call("DELETE", f"/api/projects/{other['id']}")).expect(204)
    await swept(coordinator)
    assert objects(coordinator) == []


async def test_what_was_done_to_a_deleted_project_is_still_told(admin: Caller) -> None:
    project = await admin.new_project()
    (await admin.call("DELETE", f"/api/projects/{project['id']}")).expect(204)
    log = (await admin.get(f"/api/audit-logs?projectId={project['id']}")).json["auditLogs"]
    assert [(entry["action"], entry["projectId"]) for entry in log] == [
        ("project.deleted", project["id"]),
        ("project.created", project["id"]),
    ]
    assert log[0]["details"] == {"name": "shop", "slug": "shop", "by": "admin"}
    assert (await admin.new_project())["slug"] == "shop"


async def test_a_project_whose_build_has_not_finished_stays_whole(
    coordinator: Coordinator, admin: Caller
) -> None:
    project = await admin.new_project()
    await admin.new_build(project)
    build = await admin.new_build(project)
    before = rows_of(coordinator, project)
    refused = (await admin.call("DELETE", f"/api/projects/{project['id']}")).expect(409).json
    assert refused["error"] == (
        "a build of this project has not finished: cancel it first by "
        "`pushrod build cancel default/shop#1` (and 1 more)"
    )
    assert rows_of(coordinator, project) == before
    for one in await admin.builds(project):
        (await admin.post(f"/api/projects/-/builds/{one['id']}/cancel")).expect(200)
    (await admin.call("DELETE", f"/api/projects/{project['id']}")).expect(204)
    assert build


async def test_what_a_kill_left_of_a_deletion_goes_at_the_next_start(
    coordinator: Coordinator, admin: Caller
) -> None:
    project, kept = await admin.new_project(), await admin.new_project(name="kept")
    await coordinator.stop()
    with closing(sqlite3.connect(coordinator.data / "pushrod.db")) as connection:
        # As a coordinator leaves it that is killed between the rows and the repository.
        doomed = ("repository", project["accountUuid"], project["id"])
        connection.execute("DELETE FROM projects WHERE id = ?", (project["id"],))
        connection.execute("INSERT INTO doomed_objects VALUES (?, ?, ?)", doomed)
        connection.commit()
    assert coordinator.repository(project).exists()
    await coordinator.start()
    await swept(coordinator)
    assert not coordinator.repository(project).exists()
    assert coordinator.repository(kept).exists()


async def test_a_push_to_a_deleted_project_finds_none_and_is_not_tried_again(
    coordinator: Coordinator, admin: Caller, tmp_path: Path
) -> None:
    project = await admin.new_project()
    tree = await new_work_tree(tmp_path, admin, project)
    await tree.commit({".pushrod.yml": ONE_STEP})
    (await admin.call("DELETE", f"/api/projects/{project['id']}")).expect(204)
    refused = await try_git(tree.folder, "push", "origin", "main", environment=tree.environment)
    assert refused.exit_code != 0
    assert "not found" in refused.errors


async def test_a_deployments_project_is_deleted_once_it_was_stopped(
    coordinator: Coordinator, admin: Caller
) -> None:
    body = {"agent_name": "bot", "source_files": {"agent.py": "..."}}
    deployment = (await admin.post("/api/deploy", body)).expect(202).json
    [project] = (await admin.get("/api/projects?accountId=default")).json
    (await admin.call("DELETE", f"/api/projects/{project['id']}")).expect(409)
    (await admin.post(f"/api/deploy/{deployment['id']}/stop")).expect(200)
    (await admin.call("DELETE", f"/api/projects/{project['id']}")).expect(204)
    (await admin.get(f"/api/deploy/{deployment['id']}")).expect(404)
    again = (await admin.post("/api/deploy", body)).expect(202).json
    assert again["id"] != deployment["id"]
    await swept(coordinator)
    assert rows_of(coordinator, project) == {}
