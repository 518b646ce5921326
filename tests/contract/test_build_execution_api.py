"""Specification 001, the Build Execution API, fact by fact: paths, words, codes, limits."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.integration.coordinator_fixture import (
    ONE_STEP,
    Caller,
    Coordinator,
    new_work_tree,
    open_coordinator,
    step_of,
)
from tests.integration.execution_fixture import (
    UNKNOWN,
    Tenant,
    assert_envelope,
    new_chain,
    new_member,
)

NIL = "00000000-0000-0000-0000-000000000000"
# Method, path, permission: the document's two tables of endpoints.
ENDPOINTS = [
    ("POST", "/builds", "build:create"),
    ("GET", "/builds", "build:list"),
    ("GET", "/builds/{id}", "build:read"),
    ("DELETE", "/builds/{id}", "build:delete"),
    ("POST", "/builds/{id}/start", "build:create"),
    ("POST", "/builds/{id}/cancel", "build:cancel"),
    ("POST", "/builds/{id}/retry", "build:create"),
    ("GET", "/builds/{id}/status", "build:read"),
    ("GET", "/builds/{id}/logs", "build:read"),
    ("GET", "/builds/{id}/logs/stream", "build:read"),
]
OF_A_BUILD = [(method, path) for method, path, _ in ENDPOINTS if "{id}" in path]


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with open_coordinator(tmp_path, poll_hold_seconds=1) as coordinator:
        yield coordinator


@pytest.fixture
def admin(coordinator: Coordinator) -> Caller:
    return coordinator.admin


@pytest.fixture
async def project(admin: Caller) -> dict[str, Any]:
    return await new_chain(admin, "one", "two")


@pytest.fixture
async def maintainer(admin: Caller, project: dict[str, Any]) -> Tenant:
    return await new_member(admin, "maintainer")


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


# Builds of a repository


@pytest.fixture
async def pushed(admin: Caller, maintainer: Tenant, tmp_path: Path) -> dict[str, Any]:
    """A project whose repository has a workflow; `first` and `second` are commits of main."""
    project = await admin.new_project(name="pushed")
    tree = await new_work_tree(tmp_path, admin, project)
    first = await tree.commit({".pushrod/ci.yml": ONE_STEP, "a": "1"})
    second = await tree.commit({".pushrod/extra.yml": ONE_STEP.replace("name: ci", "name: aa")})
    await tree.push()
    await tree.git("push", "-q", "origin", f"{first}:refs/heads/release/1")
    return project | {"first": first, "second": second}


async def test_a_build_is_of_the_branchs_tip_or_of_the_commit(
    maintainer: Tenant, pushed: dict[str, Any]
) -> None:
    first, second = pushed["first"], pushed["second"]
    for wanted, commit in (
        ({}, second),
        ({"git_branch": "refs/heads/main"}, second),
        ({"git_branch": "release/1"}, first),
        ({"git_commit": first}, first),
        ({"git_commit": first[:7]}, first),
        ({"git_commit": first.upper()}, first),
        ({"git_branch": "gone", "git_commit": first}, first),
    ):
        build = await maintainer.create(pushed, **wanted)
        branch = wanted.get("git_branch", "main").removeprefix("refs/heads/")
        assert (build["git_commit"], build["git_branch"]) == (commit, branch)
        assert build["workflow"] == "ci"
    extra = await maintainer.create(pushed, workflow="aa")
    assert extra["workflow"] == "aa"
    by_path = await maintainer.create(pushed, workflow=".pushrod/extra.yml")
    assert by_path["workflow_id"] == extra["workflow_id"]


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({"git_branch": "nope"}, "git_branch"),
        ({"git_commit": "1234567"}, "git_commit"),
        ({"git_branch": "release/1", "workflow": "aa"}, "workflow"),
    ],
)
async def test_what_is_not_in_the_repository_is_told(
    maintainer: Tenant, pushed: dict[str, Any], wanted: dict[str, str], field: str
) -> None:
    body = {"project_id": pushed["id"], "git_branch": "main", **wanted}
    answer = await maintainer.v1("POST", "/builds", body)
    assert list(assert_envelope(answer, 400, "INVALID_REQUEST")["details"]) == [field]


# Cancel, retry, delete


async def test_a_cancelled_build_is_cancelled_when_that_is_answered(
    admin: Caller, maintainer: Tenant, project: dict[str, Any]
) -> None:
    for build in (await maintainer.create(project), await maintainer.started(project)):
        answer = await maintainer.v1("POST", f"/builds/{build['id']}/cancel")
        assert answer.expect(200).json["status"] == "cancelled"
        again = await maintainer.v1("POST", f"/builds/{build['id']}/cancel")
        assert_envelope(again, 409, "CONFLICT")


async def test_a_running_builds_cancel_waits_for_its_agent(
    admin: Caller, maintainer: Tenant, project: dict[str, Any]
) -> None:
    build = await maintainer.started(project)
    agent = await admin.new_agent()
    spec = await agent.take()
    path = f"/builds/{build['id']}/cancel"
    cancelling = asyncio.create_task(maintainer.v1("POST", path))
    while not (await agent.poll(0))["cancels"]:
        pass
    assert not cancelling.done()
    (await agent.complete(spec, status="failed", reason="cancelled")).expect(200)
    assert (await cancelling).expect(200).json["status"] == "cancelled"


async def failed(admin: Caller, tenant: Tenant, project: dict[str, Any]) -> dict[str, Any]:
    build = await tenant.started(project)
    agent = await admin.new_agent()
    spec = await agent.take()
    (await agent.append(spec, 0, b"it broke\n")).expect(204)
    (await agent.complete(spec, status="failed", exitCode=7)).expect(200)
    return await tenant.shown(build)


async def test_a_failed_or_cancelled_build_is_retried_as_a_new_one(
    admin: Caller, maintainer: Tenant, project: dict[str, Any]
) -> None:
    broken = await failed(admin, maintainer, project)
    assert broken["status"] == "failed"
    cancelled = await maintainer.create(project)
    (await maintainer.v1("POST", f"/builds/{cancelled['id']}/cancel")).expect(200)
    for old in (broken, cancelled):
        answer = await maintainer.v1("POST", f"/builds/{old['id']}/retry")
        new = answer.expect(201).json
        assert new["id"] != old["id"]
        assert (new["status"], new["retry_of"]) == ("queued", old["id"])
        assert (await admin.build(new["id"]))["state"] == "queued", "nobody has to start it"
        path = f"/builds/{new['id']}/retry"
        assert_envelope(await maintainer.v1("POST", path), 409, "CONFLICT")


async def test_only_a_finished_build_is_deleted_and_then_it_is_nowhere(
    admin: Caller, maintainer: Tenant, project: dict[str, Any]
) -> None:
    build = await maintainer.create(project)
    path = f"/builds/{build['id']}"
    assert_envelope(await maintainer.v1("DELETE", path), 409, "CONFLICT")
    await maintainer.start(build)
    assert_envelope(await maintainer.v1("DELETE", path), 409, "CONFLICT")
    (await maintainer.v1("POST", f"{path}/cancel")).expect(200)
    answer = (await maintainer.v1("DELETE", path)).expect(204)
    assert answer.body == b""
    for method, below in OF_A_BUILD:
        there = await maintainer.v1(method, below.format(id=build["id"]))
        assert_envelope(there, 404, "NOT_FOUND")
    (await admin.get(f"/api/projects/-/builds/{build['id']}")).expect(404)
    listed = (await maintainer.v1("GET", "/builds")).json
    assert (listed["builds"], listed["total_count"]) == ([], 0)


# Status


async def test_the_status_counts_the_steps_that_have_ended(
    admin: Caller, maintainer: Tenant, project: dict[str, Any]
) -> None:
    build = await maintainer.create(project)
    path = f"/builds/{build['id']}/status"
    empty = {"current_step": 0, "total_steps": 2, "percentage": 0}
    shown = (await maintainer.v1("GET", path)).expect(200).json
    waits = shown.pop("waits_for")
    assert shown == {"build_id": build["id"], "status": "queued", "progress": empty}
    assert "start" in waits
    await maintainer.start(build)
    assert "agent" in (await maintainer.v1("GET", path)).expect(200).json["waits_for"]
    agent = await admin.new_agent()
    (await agent.complete(await agent.take())).expect(200)
    second = await agent.take()
    shown = (await maintainer.v1("GET", path)).expect(200).json
    assert shown["progress"] == {"current_step": 1, "total_steps": 2, "percentage": 50}
    assert shown["status"] == "in_progress"
    assert "started_at" in shown
    assert "waits_for" not in shown, "a step runs"
    assert "estimated_completion" not in shown, "nothing is known yet of these steps"
    (await agent.complete(second)).expect(200)
    shown = (await maintainer.v1("GET", path)).expect(200).json
    assert (shown["status"], shown["progress"]["percentage"]) == ("success", 100)


async def test_the_estimate_comes_from_what_the_workflow_took_before(
    admin: Caller, maintainer: Tenant, project: dict[str, Any]
) -> None:
    agent = await admin.new_agent()
    for _ in range(2):
        await maintainer.started(project)
        for _ in range(2):
            (await agent.complete(await agent.take())).expect(200)
    held = await maintainer.create(project)
    status = (await maintainer.v1("GET", f"/builds/{held['id']}/status")).json
    assert "estimated_completion" not in status, "who knows when it is started?"
    build = await maintainer.started(project)
    status = (await maintainer.v1("GET", f"/builds/{build['id']}/status")).json
    assert status["estimated_completion"] > build["created_at"]
    other = await new_chain(admin, "one", "two", name="other")
    fresh = await maintainer.started(other)
    status = (await maintainer.v1("GET", f"/builds/{fresh['id']}/status")).json
    assert "estimated_completion" not in status, "another workflow's past says nothing"


# Lists


async def test_builds_are_listed_in_pages(maintainer: Tenant, project: dict[str, Any]) -> None:
    made = [(await maintainer.create(project))["id"] for _ in range(25)]
    first = (await maintainer.v1("GET", "/builds")).expect(200).json
    assert set(first) == {"builds", "total_count", "page", "limit", "has_more"}
    assert (first["total_count"], first["page"], first["limit"]) == (25, 1, 20)
    assert first["has_more"] is True
    second = (await maintainer.v1("GET", "/builds?page=2")).json
    assert (second["page"], second["has_more"]) == (2, False)
    shown = [one["id"] for one in first["builds"] + second["builds"]]
    assert shown == made[::-1], "the newest first"
    third = (await maintainer.v1("GET", "/builds?page=3&limit=100")).json
    assert (third["builds"], third["has_more"]) == ([], False)
    exact = (await maintainer.v1("GET", "/builds?page=5&limit=5")).json
    assert (len(exact["builds"]), exact["has_more"]) == (5, False)


@pytest.mark.parametrize("sort_by", ["created_at", "updated_at", "build_number"])
async def test_builds_are_sorted_as_asked(
    maintainer: Tenant, project: dict[str, Any], sort_by: str
) -> None:
    made = [await maintainer.create(project) for _ in range(4)]
    (await maintainer.v1("POST", f"/builds/{made[1]['id']}/cancel")).expect(200)
    for order in ("asc", "desc"):
        query = f"/builds?sort_by={sort_by}&sort_order={order}"
        builds = (await maintainer.v1("GET", query)).expect(200).json["builds"]
        keys = [build[sort_by] for build in builds]
        assert len(builds) == 4
        assert keys == sorted(keys, reverse=order == "desc")
    if sort_by == "updated_at":
        assert builds[0]["id"] == made[1]["id"]


async def test_builds_are_filtered_by_status_and_project(
    admin: Caller, maintainer: Tenant, project: dict[str, Any]
) -> None:
    other = await new_chain(admin, "x", name="other")
    by_status = {
        "failed": await failed(admin, maintainer, project),
        "queued": await maintainer.create(project),
        "cancelled": await maintainer.create(other),
        "in_progress": await maintainer.started(other),
    }
    (await maintainer.v1("POST", f"/builds/{by_status['cancelled']['id']}/cancel")).expect(200)
    await (await admin.new_agent()).take()
    for status, build in by_status.items():
        listed = (await maintainer.v1("GET", f"/builds?status={status}")).json
        assert [one["id"] for one in listed["builds"]] == [build["id"]], status
        assert (listed["total_count"], listed["has_more"]) == (1, False)
        assert listed["builds"][0]["status"] == status
    assert (await maintainer.v1("GET", "/builds?status=success")).json["total_count"] == 0
    for one, status in ((project, "queued"), (other, "in_progress")):
        query = f"/builds?status={status}&project_id={one['id']}"
        assert (await maintainer.v1("GET", query)).json["total_count"] == 1
    query = f"/builds?project_id={other['id'].upper()}"
    assert (await maintainer.v1("GET", query)).json["total_count"] == 2


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("status=running", "status"),
        ("status=QUEUED", "status"),
        ("project_id=x", "project_id"),
        ("page=0", "page"),
        ("page=-1", "page"),
        ("page=x", "page"),
        ("page=1.5", "page"),
        ("page=1.0", "page"),
        ("limit=2.0", "limit"),
        ("page=99999999999999999999", "page"),
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=", "limit"),
        ("sort_by=id", "sort_by"),
        ("sort_order=up", "sort_order"),
        ("per_page=20", "per_page"),
    ],
)
async def test_a_wrong_query_is_told_by_its_field(
    maintainer: Tenant, query: str, field: str
) -> None:
    answer = await maintainer.v1("GET", f"/builds?{query}")
    assert list(assert_envelope(answer, 400, "INVALID_REQUEST")["details"]) == [field]


async def test_a_page_beyond_all_builds_is_empty(maintainer: Tenant) -> None:
    answer = await maintainer.v1("GET", "/builds?page=1000000000&limit=100")
    assert answer.expect(200).json["builds"] == []


# Errors and limits


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "", 404, "NOT_FOUND"),
        ("GET", "/", 404, "NOT_FOUND"),
        ("GET", "/nothing", 404, "NOT_FOUND"),
        ("GET", "/builds/x/nothing", 404, "NOT_FOUND"),
        ("PUT", "/builds", 405, "METHOD_NOT_ALLOWED"),
        ("GET", "/auth/login", 405, "METHOD_NOT_ALLOWED"),
        ("PATCH", f"/builds/{UNKNOWN}", 405, "METHOD_NOT_ALLOWED"),
    ],
)
async def test_where_there_is_nothing_the_envelope_says_so(
    coordinator: Coordinator, maintainer: Tenant, method: str, path: str, status: int, code: str
) -> None:
    assert_envelope(await maintainer.v1(method, path), status, code)
    assert_envelope(await Tenant(coordinator, None, None).v1(method, path), status, code)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "INVALID_REQUEST"),
        (b"{", 400, "INVALID_REQUEST"),
        (b"[]", 400, "INVALID_REQUEST"),
        (b"null", 400, "INVALID_REQUEST"),
        (b"\xff\xfe{}", 400, "INVALID_REQUEST"),
        (b"[" * 60_000, 400, "INVALID_REQUEST"),
        (b'{"a":' * 10_000, 400, "INVALID_REQUEST"),
        (b'{"project_id": NaN}', 400, "INVALID_REQUEST"),
        (b'{"project_id": "\\ud800", "git_branch": "a\\u0000"}', 400, "INVALID_REQUEST"),
        (b'{"project_id": ' + b"9" * 5000 + b"}", 400, "INVALID_REQUEST"),
        (b'{"git_branch": "' + b"x" * 9_000_000 + b'"}', 413, "PAYLOAD_TOO_LARGE"),
    ],
)
async def test_a_body_of_any_bytes_is_answered_in_the_envelope(
    maintainer: Tenant, body: bytes, status: int, code: str
) -> None:
    for path in ("/builds", "/auth/login"):
        headers = {"Content-Type": "application/json"}
        answer = await maintainer.v1("POST", path, data=io.BytesIO(body), headers=headers)
        assert_envelope(answer, status, code)


async def test_an_error_carries_the_callers_trace(maintainer: Tenant) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    answer = await maintainer.v1("GET", f"/builds/{UNKNOWN}", headers=headers)
    assert assert_envelope(answer, 404, "NOT_FOUND")["trace_id"] == trace
    answers = [await maintainer.v1("GET", f"/builds/{UNKNOWN}") for _ in range(2)]
    assert len({answer.json["trace_id"] for answer in answers} | {trace}) == 3


async def test_requests_are_limited_for_each_token(tmp_path: Path) -> None:
    async with open_coordinator(tmp_path, rate_limit=5) as coordinator:
        project = await coordinator.admin.new_project()
        one, two = [
            Tenant(coordinator, caller.token, project["accountUuid"])
            for caller in [
                await coordinator.admin.new_token(role="viewer", account="default")
                for _ in range(2)
            ]
        ]
        for left in (4, 3, 2, 1, 0):
            answer = (await one.v1("GET", "/builds")).expect(200)
            assert answer.headers["X-RateLimit-Limit"] == "5"
            assert answer.headers["X-RateLimit-Remaining"] == str(left)
        reset = int(answer.headers["X-RateLimit-Reset"])
        now = datetime.now().astimezone().timestamp()
        assert now < reset <= now + 62
        for path in ("/builds", "/nothing", f"/builds/{UNKNOWN}"):
            refused = await one.v1("GET", path)
            assert_envelope(refused, 429, "TOO_MANY_REQUESTS")
            assert refused.headers["X-RateLimit-Remaining"] == "0"
            assert 1 <= int(refused.headers["Retry-After"]) <= 61
        (await two.v1("GET", "/builds")).expect(200)
        (await coordinator.admin.get("/api/accounts")).expect(200)
        # Who has no token is counted by address.
        stranger = Tenant(coordinator, "pr_wrong", None)
        statuses = [(await stranger.v1("GET", "/builds")).status for _ in range(7)]
        assert statuses == [401] * 5 + [429] * 2
        (await two.v1("GET", "/builds")).expect(200)
