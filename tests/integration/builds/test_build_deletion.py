"""Deleting a build: its rows, its logs, its artifacts, but nobody else's."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from typing import Any

import pytest

from coordinator.storage.postgresql import PostgresPlace, engine_of
from tests.integration.coordinator_fixture import (
    Caller,
    Coordinator,
    eventually,
    step_of,
)
from tests.integration.execution_fixture import Tenant, new_chain, new_member
from tests.integration.list_fixture import wrong_counts


@pytest.fixture
async def project(admin: Caller) -> dict[str, Any]:
    return await new_chain(admin, "one")


@pytest.fixture
async def maintainer(admin: Caller, project: dict[str, Any]) -> Tenant:
    return await new_member(admin, "maintainer")


async def run(
    admin: Caller, tenant: Tenant, project: dict[str, Any], log: bytes, **artifacts: bytes
) -> dict[str, Any]:
    """A failed build with this log and these artifacts."""
    build = await tenant.started(project)
    agent = await admin.new_agent()
    spec = await agent.take()
    assert spec["buildId"] == build["id"]
    (await agent.append(spec, 0, log)).expect(204)
    for name, content in artifacts.items():
        (await agent.upload(spec, name, content)).expect(201)
    (await agent.complete(spec, status="failed", exitCode=1)).expect(200)
    return build | {"stepId": spec["stepId"]}


def objects(coordinator: Coordinator) -> set[str]:
    return {path.name for path in (coordinator.data / "objects").rglob("*") if path.is_file()}


def blobs(coordinator: Coordinator) -> int:
    folder = coordinator.data / "objects" / "blobs"
    return sum(1 for path in folder.rglob("*") if path.is_file())


def rows(coordinator: Coordinator, table: str) -> int:
    count = f"SELECT count(*) FROM {table}"
    if url := coordinator.settings.get("database"):
        engine = engine_of(PostgresPlace(url=url))
        with engine.connect() as asked:
            found = int(asked.exec_driver_sql(count).scalar_one())
        engine.dispose()
        return found
    with closing(sqlite3.connect(coordinator.data / "pushrod.db")) as connection:
        return int(connection.execute(count).fetchone()[0])


async def swept(coordinator: Coordinator) -> None:
    async def is_swept() -> bool:
        return rows(coordinator, "doomed_objects") == 0

    await eventually(is_swept)


async def delete(tenant: Tenant, build: dict[str, Any]) -> None:
    (await tenant.v1("DELETE", f"/builds/{build['id']}")).expect(204)


async def test_nothing_of_a_deleted_build_is_left(
    coordinator: Coordinator, admin: Caller, maintainer: Tenant, project: dict[str, Any]
) -> None:
    build = await run(admin, maintainer, project, b"a line\n", out=b"bytes", other=b"more")
    assert objects(coordinator)
    await delete(maintainer, build)
    await swept(coordinator)
    assert objects(coordinator) == set()
    for table in ("builds", "steps", "attempts", "artifacts"):
        assert rows(coordinator, table) == 0, table
    assert wrong_counts(coordinator.data / "pushrod.db") == []
    step = f"/api/steps/{build['stepId']}"
    for path in (f"{step}/log", f"{step}/artifacts", f"{step}/artifacts/out"):
        (await admin.get(path)).expect(404)
    logs = (await admin.get("/api/audit-logs?action=build.deleted")).json["auditLogs"]
    assert [entry["details"]["build"] for entry in logs] == [build["id"]]


async def test_a_build_is_deleted_under_its_own_project_alone(
    coordinator: Coordinator, admin: Caller, maintainer: Tenant, project: dict[str, Any]
) -> None:
    build = await run(admin, maintainer, project, b"a line\n")
    other = await admin.new_project("one", "other")
    path = f"/api/projects/{{}}/builds/{build['id']}"
    (await admin.call("DELETE", path.format(other["id"]))).expect(404)
    running = await admin.new_build(project)
    waits = f"/api/projects/{project['id']}/builds/{running['id']}"
    (await admin.call("DELETE", waits)).expect(409)
    (await admin.call("DELETE", path.format(project["id"]))).expect(204)
    (await admin.call("DELETE", path.format("-"))).expect(404)
    await swept(coordinator)
    assert objects(coordinator) == set()
    assert [one["id"] for one in await admin.builds(project)] == [running["id"]]


async def test_bytes_that_another_build_has_too_stay(
    coordinator: Coordinator, admin: Caller, maintainer: Tenant, project: dict[str, Any]
) -> None:
    first = await run(admin, maintainer, project, b"1\n", out=b"same", only=b"mine")
    second = await run(admin, maintainer, project, b"2\n", out=b"same")
    assert blobs(coordinator) == 2
    await delete(maintainer, first)
    await swept(coordinator)
    assert blobs(coordinator) == 1
    path = f"/api/steps/{second['stepId']}/artifacts/out"
    assert (await admin.get(path)).expect(200).body == b"same"
    assert (await admin.get(f"/api/steps/{second['stepId']}/log")).text == "2\n"
    await delete(maintainer, second)
    await swept(coordinator)
    assert blobs(coordinator) == 0


async def test_bytes_that_are_an_lfs_object_too_stay(
    coordinator: Coordinator, admin: Caller, maintainer: Tenant, project: dict[str, Any]
) -> None:
    content = b"pushed by git lfs"
    oid = hashlib.sha256(content).hexdigest()
    place = f"/git/{project['account']}/{project['slug']}.git/info/lfs/objects/{oid}"
    (await admin.call("PUT", place, data=content)).expect(200)
    build = await run(admin, maintainer, project, b"x\n", out=content)
    await delete(maintainer, build)
    await swept(coordinator)
    assert (await admin.get(place)).expect(200).body == content


async def test_the_same_bytes_of_another_account_are_its_own(
    coordinator: Coordinator, admin: Caller, maintainer: Tenant, project: dict[str, Any]
) -> None:
    theirs = await new_chain(admin, "one", account="other", name="theirs")
    stranger = await new_member(admin, "maintainer", "other")
    kept = await run(admin, stranger, theirs, b"x\n", out=b"same")
    gone = await run(admin, maintainer, project, b"x\n", out=b"same")
    await delete(maintainer, gone)
    await swept(coordinator)
    path = f"/api/steps/{kept['stepId']}/artifacts/out"
    assert (await admin.get(path)).expect(200).body == b"same"


async def test_a_retry_outlives_the_build_that_it_repeats(
    coordinator: Coordinator, admin: Caller, maintainer: Tenant, project: dict[str, Any]
) -> None:
    old = await run(admin, maintainer, project, b"x\n")
    new = (await maintainer.v1("POST", f"/builds/{old['id']}/retry")).expect(201).json
    await delete(maintainer, old)
    assert "retry_of" not in await maintainer.shown(new)


async def test_numbers_are_not_given_twice(
    admin: Caller, maintainer: Tenant, project: dict[str, Any]
) -> None:
    build = await run(admin, maintainer, project, b"x\n")
    await delete(maintainer, build)
    assert (await maintainer.create(project))["build_number"] == build["build_number"] + 1


async def test_what_a_crash_left_is_deleted_at_the_next_start(
    coordinator: Coordinator, admin: Caller, maintainer: Tenant, project: dict[str, Any]
) -> None:
    build = await run(admin, maintainer, project, b"x\n", out=b"bytes")
    await coordinator.stop()
    with closing(sqlite3.connect(coordinator.data / "pushrod.db")) as connection:
        # As a coordinator leaves it that is killed between the rows and the objects.
        account, step, epoch, sha = connection.execute(
            "SELECT steps.account_id, step_id, artifacts.epoch, sha256 FROM artifacts "
            "JOIN steps ON steps.id = step_id"
        ).fetchone()
        connection.execute("DELETE FROM artifacts")
        connection.execute("DELETE FROM attempts")
        connection.execute("INSERT INTO doomed_objects VALUES ('blob', ?, ?)", (account, sha))
        name = f"{step}-{epoch}"
        connection.execute("INSERT INTO doomed_objects VALUES ('log', ?, ?)", (account, name))
        connection.commit()
    assert objects(coordinator)
    await coordinator.start()
    await swept(coordinator)
    assert objects(coordinator) == set()
    assert build


async def test_a_build_of_many_steps_and_one_without_any_are_deleted(
    coordinator: Coordinator, admin: Caller, maintainer: Tenant
) -> None:
    project = await admin.new_project(name="many")
    await admin.new_workflow(project, *(step_of(f"s{n}") for n in range(100)))
    build = await maintainer.create(project)
    (await maintainer.v1("POST", f"/builds/{build['id']}/cancel")).expect(200)
    await delete(maintainer, build)
    assert rows(coordinator, "steps") == 0
