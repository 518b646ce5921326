"""Retention as people meet it: limits that are set, builds that are pinned, logs that are gone."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.builds.test_build_deletion import objects, run, swept
from tests.integration.coordinator_fixture import (
    Answer,
    Caller,
    Coordinator,
    eventually,
)
from tests.integration.execution_fixture import Tenant, new_chain, new_member
from tests.integration.upkeep.folded import folded_bytes


@pytest.fixture
async def project(admin: Caller) -> dict[str, Any]:
    return await new_chain(admin, "one")


@pytest.fixture
async def maintainer(admin: Caller, project: dict[str, Any]) -> Tenant:
    return await new_member(admin, "maintainer")


async def patch(caller: Caller, path: str, body: dict[str, Any]) -> Answer:
    return await caller.call("PATCH", path, json=body)


async def keep(admin: Caller, project: dict[str, Any], **limits: Any) -> dict[str, Any]:
    answer = await patch(admin, f"/api/projects/{project['id']}/retention", limits)
    return dict(answer.expect(200).json)


async def test_a_build_whose_logs_and_artifacts_went_says_so(
    coordinator: Coordinator, admin: Caller, maintainer: Tenant, project: dict[str, Any]
) -> None:
    build = await run(admin, maintainer, project, b"a line\n", out=b"bytes")
    await keep(admin, project, logs={"number": 0}, artifacts={"number": 0})

    async def gone() -> bool:
        shown = await admin.build(build["id"])
        return "logsGoneAt" in shown and "artifactsGoneAt" in shown

    await eventually(gone)
    await swept(coordinator)
    assert objects(coordinator) == set()
    step = f"/api/steps/{build['stepId']}"
    refused = (await admin.get(f"{step}/log")).expect(404)
    assert "was deleted, as the limits of retention say" in refused.text
    assert (await admin.get(f"{step}/artifacts")).expect(200).json == []
    path = f"/api/projects/-/builds/{build['id']}"
    refused = (await admin.post(f"{path}/retry", {"failed": True})).expect(409)
    assert "its logs or artifacts were deleted" in refused.text
    (await admin.post(f"{path}/retry")).expect(201)
    (await admin.post(f"{path}/pin")).expect(409)


async def test_a_pinned_build_stays_until_it_is_not_pinned_any_more(
    coordinator: Coordinator, admin: Caller, maintainer: Tenant, project: dict[str, Any]
) -> None:
    pinned = await run(admin, maintainer, project, b"a line\n")
    other = await run(admin, maintainer, project, b"a line\n")
    path = f"/api/projects/{project['id']}/builds/{pinned['id']}"
    for _ in range(2):  # twice is once
        assert (await admin.post(f"{path}/pin")).expect(200).json["pinnedBy"] == "admin"
    await keep(admin, project, builds={"number": 0})
    await eventually(lambda: left_are(admin, project, [pinned["id"]]))
    actions = [one["action"] for one in (await admin.get("/api/audit-logs")).json["auditLogs"]]
    assert actions.count("build.pinned") == 1
    assert "retention.builds_deleted" in actions
    assert "pinnedBy" not in (await admin.post(f"{path}/unpin")).expect(200).json
    await keep(admin, project, builds={"number": 0})
    await eventually(lambda: left_are(admin, project, []))
    assert other["id"] != pinned["id"]


async def left_are(admin: Caller, project: dict[str, Any], ids: list[str]) -> bool:
    return [one["id"] for one in await admin.builds(project)] == ids


async def test_limits_are_shown_with_what_goes_by_them(
    coordinator: Coordinator, admin: Caller, maintainer: Tenant, project: dict[str, Any]
) -> None:
    answer = await patch(admin, "/api/retention", {"enforced": False})
    assert answer.expect(200).json["enforced"] is False
    await run(admin, maintainer, project, b"a line\n", out=b"bytes")
    size = await folded_bytes(coordinator)
    await keep(admin, project, builds={"days": 30, "bytes": 3})
    path = f"/api/projects/{project['id']}/retention"
    shown = (await admin.get(f"{path}?outlook=true")).expect(200).json
    (await admin.get(f"{path}?outlook=perhaps")).expect(400)
    assert shown["own"] == ["builds"]
    assert shown["limits"]["builds"] == {"days": 30, "bytes": 3}
    assert shown["goesNext"]["builds"] == {"builds": 1, "bytes": size + 5}
    everywhere = (await admin.get("/api/retention?outlook=true")).expect(200).json
    assert everywhere["limits"]["builds"] == {"days": 365}
    assert everywhere["goesNext"] == shown["goesNext"]
    back = await keep(admin, project, unset=["builds"])
    assert (back["own"], back["limits"]["builds"]) == ([], {"days": 365})


@pytest.mark.parametrize(
    ("wanted", "path"),
    [
        ({"builds": {"days": -1}}, "builds.days"),
        ({"builds": {"weeks": 1}}, "builds.weeks"),
        ({"logs": {"bytes": "1"}}, "logs.bytes"),
        ({"logs": 5}, "logs"),
        ({"unset": ["lfs"]}, "unset[0]"),
        ({"keep": {"number": 1}}, "keep.number"),
        ({"keep": {"days": -1}}, "keep.days"),
    ],
)
async def test_a_limit_that_is_none_is_refused_with_its_place(
    admin: Caller, project: dict[str, Any], wanted: dict[str, Any], path: str
) -> None:
    answer = await patch(admin, f"/api/projects/{project['id']}/retention", wanted)
    assert path in [one["path"] for one in answer.expect(400).json["details"]]


async def test_a_member_sets_nothing_for_all(admin: Caller, maintainer: Tenant) -> None:
    (await patch(maintainer, "/api/retention", {"enforced": True})).expect(403)
    (await maintainer.call("GET", "/api/retention")).expect(403)


async def test_storage_is_told_by_project_and_kind(
    coordinator: Coordinator, admin: Caller, maintainer: Tenant, project: dict[str, Any]
) -> None:
    await run(admin, maintainer, project, b"a line\n", out=b"bytes")
    size = await folded_bytes(coordinator)
    found = (await admin.get("/api/storage")).expect(200).json
    [one] = [one for one in found["projects"] if one["id"] == project["id"]]
    assert (one["builds"], one["logBytes"], one["artifactBytes"]) == (1, size, 5)
    assert one["repositoryBytes"] > 0
    assert found["machine"]["databaseBytes"] > 0
    assert "machine" not in (await maintainer.call("GET", "/api/storage")).expect(200).json
