"""Specification 001, the Build Execution API, fact by fact: paths, words, codes, limits."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

import pytest

from tests.contract.build_execution.callers import ENDPOINTS, OF_A_BUILD
from tests.integration.coordinator_fixture import Caller, Coordinator, step_of
from tests.integration.execution_fixture import (
    UNKNOWN,
    Tenant,
    assert_envelope,
    new_chain,
    new_member,
)

NIL = "00000000-0000-0000-0000-000000000000"


# Who asks, and in which tenant


@pytest.mark.parametrize(("method", "path", "_"), ENDPOINTS)
async def test_without_a_valid_token_it_is_401_whatever_else_is_wrong(
    coordinator: Coordinator, method: str, path: str, _: str
) -> None:
    for token in (None, "pr_wrong", "a.b.c", "eyJhbGciOiJub25lIn0.e30."):
        for tenant in (None, "x", UNKNOWN):
            caller = Tenant(coordinator, token, tenant)
            answer = await caller.v1(method, path.format(id=UNKNOWN))
            assert_envelope(answer, 401, "UNAUTHORIZED")
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize(("method", "path", "_"), ENDPOINTS)
async def test_without_a_tenant_it_is_400_for_administrators_too(
    coordinator: Coordinator, maintainer: Tenant, method: str, path: str, _: str
) -> None:
    for token in (maintainer.token, coordinator.admin.token):
        for tenant in (None, "", "acme", NIL, "{" + UNKNOWN + "}", UNKNOWN.replace("-", "")):
            answer = await Tenant(coordinator, token, tenant).v1(method, path.format(id=UNKNOWN))
            body = assert_envelope(answer, 400, "INVALID_REQUEST")
            assert set(body["details"]) == {"X-Tenant-ID"}


async def test_another_tenant_is_forbidden_and_its_builds_are_not_there(
    coordinator: Coordinator, admin: Caller, maintainer: Tenant, project: dict[str, Any]
) -> None:
    build = await maintainer.create(project)
    await new_chain(admin, "x", account="other", name="theirs")
    stranger = await new_member(admin, "maintainer", "other")
    for method, path in OF_A_BUILD:
        place = path.format(id=build["id"])
        assert_envelope(await stranger.v1(method, place), 404, "NOT_FOUND")
        for tenant in (maintainer.tenant, UNKNOWN):
            there = Tenant(coordinator, stranger.token, tenant)
            assert_envelope(await there.v1(method, place), 403, "FORBIDDEN")
        # An administrator, too, asks in one tenant at a time.
        elsewhere = Tenant(coordinator, admin.token, stranger.tenant)
        assert_envelope(await elsewhere.v1(method, place), 404, "NOT_FOUND")
        nowhere = Tenant(coordinator, admin.token, UNKNOWN)
        assert_envelope(await nowhere.v1(method, place), 404, "NOT_FOUND")
    body = {"project_id": project["id"], "git_branch": "main"}
    assert_envelope(await stranger.v1("POST", "/builds", body), 404, "NOT_FOUND")
    nowhere = Tenant(coordinator, admin.token, UNKNOWN)
    assert_envelope(await nowhere.v1("GET", "/builds"), 404, "NOT_FOUND")
    listed = (await stranger.v1("GET", f"/builds?project_id={project['id']}")).expect(200)
    assert (listed.json["builds"], listed.json["total_count"]) == ([], 0)
    assert await maintainer.shown(build) == build


async def test_a_tenant_may_be_written_in_capitals_and_tokens_work_as_logins_do(
    coordinator: Coordinator, admin: Caller, maintainer: Tenant
) -> None:
    developer = await admin.new_token(role="developer", account="default")
    for token in (developer.token, admin.token, maintainer.token):
        caller = Tenant(coordinator, token, (maintainer.tenant or "").upper())
        (await caller.v1("GET", "/builds")).expect(200)


@pytest.mark.parametrize("role", ["viewer", "developer", "maintainer"])
async def test_each_endpoint_needs_its_permission(
    admin: Caller, project: dict[str, Any], role: str
) -> None:
    member = await new_member(admin, role)
    granted = {
        "viewer": {"build:list", "build:read"},
        "developer": {"build:list", "build:read", "build:create", "build:cancel"},
        "maintainer": {permission for _, _, permission in ENDPOINTS},
    }
    for method, path, permission in ENDPOINTS:
        answer = await member.v1(method, path.format(id=UNKNOWN))
        if permission in granted[role]:
            assert answer.status in (200, 400, 404), (method, path, answer.text)
        else:
            body = assert_envelope(answer, 403, "FORBIDDEN")
            assert permission in body["error"]


@pytest.mark.parametrize(("method", "path"), OF_A_BUILD)
async def test_a_build_that_is_not_there_is_404(maintainer: Tenant, method: str, path: str) -> None:
    for build_id in (UNKNOWN, NIL, "1", "x" * 300, "%00", "..%2f"):
        answer = await maintainer.v1(method, path.format(id=build_id))
        assert_envelope(answer, 404, "NOT_FOUND")


# Create


async def test_a_created_build_waits_for_its_start(
    coordinator: Coordinator, admin: Caller, maintainer: Tenant, project: dict[str, Any]
) -> None:
    build = await maintainer.create(project)
    assert {"id", "project_id", "build_number", "git_branch", "status"} <= set(build)
    assert (build["project_id"], build["git_branch"]) == (project["id"], "main")
    assert (build["build_number"], build["status"]) == (1, "queued")
    for name in ("created_at", "updated_at"):
        assert build[name].endswith("Z")
        assert datetime.fromisoformat(build[name]).tzinfo
    assert "started_at" not in build
    assert None not in build.values(), "what is absent is left out"
    held = await admin.build(build["id"])
    assert held["state"] == "held"
    first = held["steps"][0]
    assert first["waitsFor"] == "waits for the build to be started", "nobody's approval is needed"
    claim = (await admin.get(f"/api/runner/{first['id']}")).expect(409)
    assert claim.json["error"].endswith("waits for the build to be started")
    agent = await admin.new_agent()
    assert (await agent.poll())["offers"] == []
    assert (await maintainer.create(project))["build_number"] == 2
    assert await maintainer.shown(build) == build


async def test_a_started_build_runs_to_success(
    admin: Caller, maintainer: Tenant, project: dict[str, Any]
) -> None:
    build = await maintainer.create(project)
    assert (await maintainer.start(build))["id"] == build["id"]
    agent = await admin.new_agent()
    first = await agent.take()
    assert (await maintainer.shown(build))["status"] == "in_progress"
    path = f"/builds/{build['id']}/start"
    assert_envelope(await maintainer.v1("POST", path), 409, "CONFLICT")
    (await agent.complete(first)).expect(200)
    (await agent.complete(await agent.take())).expect(200)
    done = await maintainer.shown(build)
    assert done["status"] == "success"
    assert done["created_at"] <= done["started_at"] <= done["completed_at"] <= done["updated_at"]
    for path in ("start", "cancel", "retry"):
        answer = await maintainer.v1("POST", f"/builds/{build['id']}/{path}")
        assert_envelope(answer, 409, "CONFLICT")


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        ({"exitCode": 3}, "step one failed: exit code 3"),
        ({"exitCode": None, "reason": "timeout"}, "step one failed: timeout"),
        (
            {"exitCode": None, "reason": "image", "message": "image 'x': there\nis none"},
            "step one failed: image: image 'x': there is none",
        ),
    ],
)
async def test_a_failed_builds_reason_is_the_step_that_failed_not_who_started_it(
    admin: Caller,
    maintainer: Tenant,
    project: dict[str, Any],
    end: dict[str, Any],
    reason: str,
) -> None:
    build = await maintainer.started(project)
    assert "reason" not in build
    agent = await admin.new_agent()
    (await agent.complete(await agent.take(), status="failed", **end)).expect(200)
    assert (await maintainer.shown(build))["reason"] == reason


async def test_a_build_cancelled_before_its_start_says_so_and_made_no_progress(
    maintainer: Tenant, project: dict[str, Any]
) -> None:
    build = await maintainer.create(project)
    (await maintainer.v1("POST", f"/builds/{build['id']}/cancel")).expect(200)
    refused = await maintainer.v1("POST", f"/builds/{build['id']}/start")
    said = assert_envelope(refused, 409, "CONFLICT")["error"]
    assert said == "this build was cancelled: retry it to build it again"
    shown = (await maintainer.v1("GET", f"/builds/{build['id']}/status")).expect(200).json
    assert shown["progress"] == {"current_step": 0, "total_steps": 2, "percentage": 0}


async def test_a_start_of_a_retry_is_taken_until_it_has_ended(
    admin: Caller, maintainer: Tenant, project: dict[str, Any]
) -> None:
    old = await maintainer.create(project)
    (await maintainer.v1("POST", f"/builds/{old['id']}/cancel")).expect(200)
    retried = await maintainer.v1("POST", f"/builds/{old['id'].upper()}/retry")
    new = retried.expect(201).json
    assert (await maintainer.start(new))["status"] == "queued"
    await (await admin.new_agent()).take()
    assert (await maintainer.start(new))["status"] == "in_progress"
    (await admin.post(f"/api/projects/-/builds/{new['id']}/cancel")).expect(200)
    plain = await maintainer.started(project)
    again = await maintainer.v1("POST", f"/builds/{plain['id']}/start")
    assert_envelope(again, 409, "CONFLICT")


async def test_an_id_in_capitals_is_the_same_build(
    maintainer: Tenant, project: dict[str, Any]
) -> None:
    build = await maintainer.create(project)
    assert await maintainer.shown({"id": build["id"].upper()}) == build


async def test_two_starts_at_once_start_it_once(
    maintainer: Tenant, project: dict[str, Any]
) -> None:
    build = await maintainer.create(project)
    path = f"/builds/{build['id']}/start"
    answers = await asyncio.gather(*(maintainer.v1("POST", path) for _ in range(8)))
    assert sorted(answer.status for answer in answers) == [200] + [409] * 7


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"project_id": None}, "project_id"),
        ({"project_id": ...}, "project_id"),
        ({"project_id": "x"}, "project_id"),
        ({"project_id": 7}, "project_id"),
        ({"project_id": UNKNOWN.replace("-", "")}, "project_id"),
        ({"git_branch": ...}, "git_branch"),
        ({"git_branch": None}, "git_branch"),
        ({"git_branch": ""}, "git_branch"),
        ({"git_branch": "x" * 256}, "git_branch"),
        ({"git_branch": "a b"}, "git_branch"),
        ({"git_branch": "a..b"}, "git_branch"),
        ({"git_branch": "-a"}, "git_branch"),
        ({"git_branch": "a.lock"}, "git_branch"),
        ({"git_branch": "refs/heads/"}, "git_branch"),
        ({"git_branch": ["main"]}, "git_branch"),
        ({"git_commit": "abc123"}, "git_commit"),
        ({"git_commit": "a" * 41}, "git_commit"),
        ({"git_commit": "ghijklm"}, "git_commit"),
        ({"git_commit": "abcdef1\n"}, "git_commit"),
        ({"git_commit": 1234567}, "git_commit"),
        ({"git_commit": "abcdef1"}, "git_commit"),
        ({"workflow": "nope"}, "workflow"),
        ({"workflow": ""}, "workflow"),
        ({"params": {"x": "y"}}, "params.x"),
        ({"params": []}, "params"),
        ({"gitBranch": "main"}, "gitBranch"),
    ],
)
async def test_what_can_not_be_built_is_told_by_its_field(
    maintainer: Tenant, project: dict[str, Any], change: dict[str, Any], field: str
) -> None:
    body = {"project_id": project["id"], "git_branch": "main", **change}
    body = {name: value for name, value in body.items() if value is not ...}
    answer = await maintainer.v1("POST", "/builds", body)
    details = assert_envelope(answer, 400, "INVALID_REQUEST")["details"]
    assert list(details) == [field]
    assert (await maintainer.v1("GET", "/builds")).json["total_count"] == 0


async def test_a_project_that_is_not_there_is_404(maintainer: Tenant) -> None:
    body = {"project_id": UNKNOWN, "git_branch": "main"}
    assert_envelope(await maintainer.v1("POST", "/builds", body), 404, "NOT_FOUND")


async def test_a_project_without_a_workflow_says_what_to_do(
    admin: Caller, maintainer: Tenant
) -> None:
    empty = await admin.new_project(name="empty")
    body = {"project_id": empty["id"], "git_branch": "main"}
    shown = assert_envelope(await maintainer.v1("POST", "/builds", body), 400, "INVALID_REQUEST")
    assert ".pushrod.yml" in shown["error"]


async def test_the_default_workflow_is_the_only_one_or_ci_or_default_or_the_first_by_name(
    admin: Caller, maintainer: Tenant
) -> None:
    project = await admin.new_project(name="several")
    path = f"/api/projects/{project['id']}/workflows"
    for name, chosen in (
        ("zebra", "zebra"),
        ("apple", "apple"),
        ("default", "default"),
        ("ci", "ci"),
        ("aaa", "ci"),
    ):
        body = {"name": name, "steps": [step_of("x")]}
        made = (await admin.post(path, body)).expect(201).json
        assert (await maintainer.create(project))["workflow"] == chosen
        for key in (name, made["id"]):
            assert (await maintainer.create(project, workflow=key))["workflow_id"] == made["id"]
