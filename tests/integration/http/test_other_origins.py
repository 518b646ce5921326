"""Pages of other origins call the API where the setting names them (CORS)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import product
from pathlib import Path

import pytest
from pydantic import ValidationError

from coordinator.settings import Settings
from tests.integration.coordinator_fixture import Answer, Coordinator, open_coordinator
from tests.integration.execution_fixture import UNKNOWN

OURS = "https://dashboard.example"
CALLS = [
    ("POST", "/api/projects"),
    ("POST", "/api/v1/builds"),
    ("POST", "/api/builds"),
    ("POST", "/api/build_synthesis/trigger"),
    ("GET", f"/api/runner/{UNKNOWN}"),
]


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    origins = f"{OURS}, http://localhost:5173"
    async with open_coordinator(tmp_path, allowed_origins=origins, rate_limit=3) as coordinator:
        yield coordinator


async def preflight(coordinator: Coordinator, path: str, method: str, origin: str) -> Answer:
    asks = {"Access-Control-Request-Method": method, "Origin": origin}
    return await coordinator.nobody.call("OPTIONS", path, headers=asks)


@pytest.mark.parametrize(("method", "path"), CALLS)
async def test_a_named_origin_may_call_every_interface(
    coordinator: Coordinator, method: str, path: str
) -> None:
    for _ in range(5):  # a preflight counts as no request
        answer = (await preflight(coordinator, path, method, OURS)).expect(204)
    assert answer.headers["Access-Control-Allow-Origin"] == OURS
    assert method in answer.headers["Access-Control-Allow-Methods"]
    allowed = answer.headers["Access-Control-Allow-Headers"].lower()
    assert {"authorization", "content-type", "x-tenant-id", "idempotency-key"} <= set(
        allowed.split(", ")
    )
    assert int(answer.headers["Access-Control-Max-Age"]) > 0


async def test_errors_and_answers_are_readable_and_cookies_never_allowed(
    coordinator: Coordinator,
) -> None:
    paths = ("/api/v1/builds", "/api/projects?accountId=a")
    callers = (coordinator.nobody, coordinator.admin)
    for caller, path in product(callers, paths):
        answer = await caller.call("GET", path, headers={"Origin": OURS})
        assert answer.headers["Access-Control-Allow-Origin"] == OURS
        shown = answer.headers["Access-Control-Expose-Headers"].split(", ")
        assert {"Location", "Retry-After", "X-RateLimit-Reset"} <= set(shown)
        assert "Origin" in answer.headers["Vary"]
        assert "Access-Control-Allow-Credentials" not in answer.headers


@pytest.mark.parametrize("origin", ["https://evil.example", "http://dashboard.example", "null"])
async def test_another_origin_is_told_nothing(coordinator: Coordinator, origin: str) -> None:
    asked = await preflight(coordinator, "/api/projects", "POST", origin)
    assert asked.status == 405
    got = await coordinator.admin.call(
        "GET", "/api/projects?accountId=a", headers={"Origin": origin}
    )
    for answer in (asked, got.expect(200)):
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert "Origin" in answer.headers["Vary"]


async def test_pages_and_repositories_are_no_part_of_it(coordinator: Coordinator) -> None:
    for path in ("/", "/login", "/git/default/shop.git/info/refs"):
        assert (await preflight(coordinator, path, "GET", OURS)).status == 405
        answer = await coordinator.nobody.call("GET", path, headers={"Origin": OURS})
        assert "Access-Control-Allow-Origin" not in answer.headers


async def test_without_the_setting_there_is_none(tmp_path: Path) -> None:
    async with open_coordinator(tmp_path) as coordinator:
        assert (await preflight(coordinator, "/api/projects", "POST", OURS)).status == 405
        answer = await coordinator.admin.call(
            "GET", "/api/projects?accountId=a", headers={"Origin": OURS}
        )
        assert "Access-Control-Allow-Origin" not in answer.expect(200).headers


@pytest.mark.parametrize(
    "wrong", ["*", "https://*.example", "dashboard.example", f"{OURS}/", "null"]
)
def test_what_is_no_origin_is_refused_at_the_start(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(ValidationError, match="is no origin: name each one"):
        Settings(data=tmp_path, allowed_origins=f"{OURS}, {wrong}")
