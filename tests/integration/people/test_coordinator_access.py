"""Who sees and does what: accounts, roles, step tokens, sessions. Every route is walked."""

from __future__ import annotations

import asyncio
import base64
import importlib
import pkgutil
import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from coordinator import api
from coordinator.web import pages
from tests.integration.coordinator_fixture import Answer, Caller, Coordinator, open_coordinator
from tests.integration.people.furnished_accounts import DEPLOYMENT, furnish
from tests.integration.people.walked_routes import (
    ALLOWED,
    FOR_ADMINISTRATORS,
    WITH_IDS,
    WITHOUT_TOKEN,
)


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with open_coordinator(tmp_path, poll_hold_seconds=1, lease_seconds=60) as coordinator:
        yield coordinator


@pytest.fixture
def admin(coordinator: Coordinator) -> Caller:
    return coordinator.admin


IMAGE_BUILD = {"name": "bot", "files": {"agent.py": "..."}}


async def send(caller: Caller, method: str, path: str, body: Any, tenant: str = "") -> Answer:
    """With the headers that some of the paths need."""
    options: dict[str, Any] = {"headers": {"Upload-Offset": "0", "X-Tenant-ID": tenant}}
    if isinstance(body, bytes):
        options["data"] = body
        if "/git-" in path:
            service = path.rpartition("/")[2]
            options["headers"]["Content-Type"] = f"application/x-{service}-request"
    elif body is not None:
        options["json"] = body
    return await caller.call(method, path, **options)


def what_is_stored(coordinator: Coordinator) -> list[Any]:
    """All that a change would change, but for when tokens and agents were last heard of."""
    tables = (
        "projects",
        "secret_values",
        "workflows",
        "builds",
        "steps",
        "attempts",
        "artifacts",
        "output_entries",
        "images",
        "image_projects",
        "image_builds",
        "deployments",
        "registry_logins",
    )
    with closing(sqlite3.connect(coordinator.data / "pushrod.db")) as connection:
        rows = [
            connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall()
            for table in (*tables, "seen_refs", "accounts")
        ]
        names = "id, kind, role, account_id, revoked_at"
        rows.append(connection.execute(f"SELECT {names} FROM tokens ORDER BY id").fetchall())
        names = "id, account_id, paused, removed_at"
        return [*rows, connection.execute(f"SELECT {names} FROM agents ORDER BY id").fetchall()]


async def test_another_accounts_things_are_not_there(
    coordinator: Coordinator, admin: Caller
) -> None:
    house = await furnish(admin, "acme")
    other = await furnish(admin, "other")
    before = what_is_stored(coordinator)
    strangers = {
        "maintainer": other.maintainer,
        "agent": other.agent,
        "step": Caller(coordinator, other.running["token"]),
        "registration": await admin.new_token(kind="registration", account="other"),
    }
    before = what_is_stored(coordinator)
    for who, caller in strangers.items():
        for method, path, body in WITH_IDS:
            tenant = other.project["accountUuid"]
            answer = await send(caller, method, house.fill(path), body, tenant)
            wanted = {404} if who == "maintainer" else {404, 403}
            assert answer.status in wanted, (who, method, path, answer.status, answer.text[:200])
            assert "artifact of" not in answer.text
            assert "log of" not in answer.text
    assert what_is_stored(coordinator) == before


async def test_nobody_gets_nothing(coordinator: Coordinator, admin: Caller) -> None:
    house = await furnish(admin, "acme")
    before = what_is_stored(coordinator)
    basic = "Basic " + base64.b64encode(b"x:wrong").decode()
    without_ids = [
        ("GET", "/api/projects?accountId=acme", None),
        ("POST", "/api/projects", {"accountId": "acme", "name": "x"}),
        ("POST", "/api/build_synthesis/trigger", {"module_name": "x"}),
        ("GET", "/api/accounts", None),
        ("GET", "/api/overview", None),
        ("GET", "/api/docker-images", None),
        ("POST", "/api/docker-images", {"slug": "x", "imageUrl": "x"}),
        ("GET", "/api/audit-logs", None),
        ("POST", "/api/builds", IMAGE_BUILD),
        ("GET", "/api/builds", None),
        ("POST", "/api/deploy", DEPLOYMENT),
        ("GET", "/api/deploy", None),
        ("GET", "/api/tokens", None),
        ("POST", "/api/tokens", {"name": "x"}),
        ("DELETE", "/api/tokens/x", None),
        ("GET", "/api/agents", None),
        ("GET", "/api/agents/demand", None),
        ("POST", "/api/agents/register", {"name": "x"}),
        ("POST", "/api/agents/poll", {"free": 1}),
        ("POST", "/api/agents/renew", {"leases": []}),
        ("POST", "/api/agents/goodbye", {"instance": "x"}),
        ("GET", "/api/v1/builds", None),
        ("POST", "/api/v1/builds", {}),
        ("GET", "/api/storage", None),
        *[(method, path, body) for method, path, body, _ in FOR_ADMINISTRATORS],
    ]
    for authorization in (None, "Bearer pr_wrong", "Bearer", "Bearer ", basic, "Basic !", "x"):
        for method, path, body in [*WITH_IDS, *without_ids]:
            headers = {} if authorization is None else {"Authorization": authorization}
            options: dict[str, Any] = {"data": body} if isinstance(body, bytes) else {"json": body}
            answer = await coordinator.nobody.call(
                method, house.fill(path), headers=headers, **options
            )
            assert answer.status == 401, (authorization, method, path, answer.text[:200])
            assert answer.headers["WWW-Authenticate"]
    assert what_is_stored(coordinator) == before


async def test_raw_bytes_in_a_token_are_just_wrong(coordinator: Coordinator) -> None:
    host, port = coordinator.url.removeprefix("http://").split(":")
    tokens = ["pr_ü".encode(), "prs_x_²_y".encode(), b"pr_\xff", b"prs_x_1_\xff\xfe"]
    for token in (*tokens, b"prs_\xed\xa0\x80_1_x"):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            b"GET /api/accounts HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            b"Authorization: Bearer %s\r\n\r\n" % token
        )
        assert (await reader.readline()).split()[1] in (b"401", b"400")
        writer.close()
        await writer.wait_closed()


# Roles. 1: allowed (whatever else it says), 0: 403.
ROLES = ["viewer", "developer", "maintainer", "registration", "agent", "step"]


async def test_each_role_may_do_what_it_needs_and_no_more(
    coordinator: Coordinator, admin: Caller
) -> None:
    house = await furnish(admin, "acme")
    callers = {
        "viewer": await admin.new_token(role="viewer", account="acme"),
        "developer": await admin.new_token(role="developer", account="acme"),
        "maintainer": house.maintainer,
        "registration": await admin.new_token(kind="registration", account="acme"),
        "agent": house.agent,
        "step": Caller(coordinator, house.running["token"]),
    }
    assert list(callers) == ROLES
    for method, path, body, who in ALLOWED:
        for role, caller in callers.items():
            tenant = house.project["accountUuid"]
            answer = await send(caller, method, house.fill(path), body, tenant)
            place = (role, method, path, answer.status, answer.text[:200])
            if role in who.split():
                assert answer.status not in (401, 403, 500), place
            else:
                # A step's token may also be told that there is nothing, where it is let in at all.
                assert answer.status in ((403, 404) if role == "step" else (403,)), place


# No route is forgotten


def test_every_route_is_walked_by_the_tests_above() -> None:
    app = web.Application()
    names = [found.name for found in pkgutil.walk_packages(api.__path__, "coordinator.api.")]
    for module in [*map(importlib.import_module, names), pages]:
        if hasattr(module, "add_routes"):
            module.add_routes(app)
    assert len(app.router.routes()) > len(WITHOUT_TOKEN)
    sample = "11111111-1111-1111-1111-111111111111"
    fields = ("project", "slug", "account", "build", "done_build", "running", "ready", "done")
    fields += ("deployment", "image_build", "image", "agent")
    walked = [
        (method, path.format(**dict.fromkeys(fields, sample)).partition("?")[0])
        for method, path, *_ in [*WITH_IDS, *ALLOWED]
    ]
    walked += [("DELETE", "/api/tokens/x")]
    for route in app.router.routes():
        info = route.resource.get_info() if route.resource is not None else {}
        shown = info.get("path") or info.get("formatter")
        if route.method == "HEAD" or (route.method, shown) in WITHOUT_TOKEN:
            continue
        pattern = info.get("pattern") or re.compile(re.escape(str(shown)))
        assert any(method == route.method and pattern.fullmatch(path) for method, path in walked), (
            f"{route.method} {shown} is not among the routes of walked_routes.py"
        )
