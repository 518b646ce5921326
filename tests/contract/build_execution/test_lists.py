"""Lists, errors and limits by specification 001."""

from __future__ import annotations

import io
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.contract.build_execution.callers import failed
from tests.integration.coordinator_fixture import Caller, Coordinator, open_coordinator
from tests.integration.execution_fixture import (
    UNKNOWN,
    Tenant,
    assert_envelope,
    new_chain,
)

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


@pytest.mark.usefixtures("each_storage")
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
