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
from tests.integration.coordinator_fixture import (
    Answer,
    Caller,
    Coordinator,
    open_coordinator,
    step_of,
)
from tests.integration.people.furnished_accounts import DEPLOYMENT, furnish


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with open_coordinator(tmp_path, poll_hold_seconds=1, lease_seconds=60) as coordinator:
        yield coordinator


@pytest.fixture
def admin(coordinator: Coordinator) -> Caller:
    return coordinator.admin


IMAGE_BUILD = {"name": "bot", "files": {"agent.py": "..."}}


WORKFLOW = {"name": "ci", "steps": [step_of("x")]}


EPOCH = {"epoch": 1, "status": "success"}


SETTLED = {"digest": "sha256:" + "1" * 64, "epoch": 1}


BATCH = b'{"links": [{"name": "l", "target": "x"}]}\n'


WANTED = {"stepId": "any", "names": []}


LFS_BATCH = {"operation": "upload", "objects": []}


# Each route with an id in it: method, path, body.
WITH_IDS: list[tuple[str, str, Any]] = [
    ("GET", "/api/projects/{project}", None),
    ("PATCH", "/api/projects/{project}", {"defaultBranch": "main"}),
    ("DELETE", "/api/projects/{project}", None),
    ("POST", "/api/projects/{project}/webhook-secret", {}),
    ("PATCH", "/api/docker-images/{image}", {"imageUrl": "x"}),
    ("DELETE", "/api/docker-images/{image}", None),
    ("GET", "/api/agents/{agent}", None),
    ("POST", "/api/agents/{agent}/pause", {}),
    ("POST", "/api/agents/{agent}/drain", {}),
    ("POST", "/api/agents/{agent}/resume", {}),
    ("DELETE", "/api/agents/{agent}", None),
    ("GET", "/api/projects/{project}/workflows", None),
    ("POST", "/api/projects/{project}/workflows", WORKFLOW),
    ("GET", "/api/projects/{project}/builds", None),
    ("POST", "/api/projects/{project}/builds", {"workflowId": "any"}),
    ("GET", "/api/projects/{project}/builds/{build}", None),
    ("DELETE", "/api/projects/{project}/builds/{done_build}", None),
    ("POST", "/api/steps/{ready}/approve", {}),
    ("POST", "/api/steps/{ready}/reject", {}),
    ("DELETE", "/api/projects/-/builds/{done_build}", None),
    ("GET", "/api/projects/-/builds/{build}", None),
    ("GET", "/api/projects/-/builds/{build}?wait=20&seen=999", None),
    ("POST", "/api/projects/{project}/builds/{build}/cancel", {}),
    ("POST", "/api/projects/-/builds/{build}/cancel", {}),
    ("POST", "/api/projects/{project}/builds/{done_build}/retry", {}),
    ("POST", "/api/projects/{project}/builds/{done_build}/pin", {}),
    ("POST", "/api/projects/-/builds/{done_build}/pin", {}),
    ("POST", "/api/projects/-/builds/{done_build}/unpin", {}),
    ("GET", "/api/projects/{project}/retention", None),
    ("PATCH", "/api/projects/{project}/retention", {}),
    ("POST", "/api/projects/-/builds/{done_build}/retry", {}),
    ("GET", "/api/steps/{running}/log", None),
    ("GET", "/api/steps/{done}/log?wait=20", None),
    ("GET", "/api/steps/{done}/artifacts", None),
    ("GET", "/api/steps/{done}/artifacts/out", None),
    ("GET", "/api/steps/{done}/artifacts.zip", None),
    ("GET", "/api/projects/{project}/builds/{build}/artifacts.zip", None),
    ("GET", "/api/steps/{done}/outputs", None),
    ("GET", "/api/steps/{done}/why", None),
    ("GET", "/api/projects/{project}/builds/{build}/results", None),
    ("GET", "/api/projects/{project}/builds/{build}/tests", None),
    ("GET", "/api/projects/{project}/tests/history?name=x", None),
    ("GET", "/api/runner/{ready}", None),
    ("GET", "/api/runner/{running}", None),
    ("POST", "/api/runner/{running}/accept", {"epoch": 1}),
    ("POST", "/api/runner/{running}/image", SETTLED),
    ("POST", "/api/runner/{running}/healthy", {"epoch": 1}),
    ("POST", "/api/runner/{running}/complete", EPOCH),
    ("PATCH", "/api/runner/{running}/log?epoch=1", b"x"),
    ("PUT", "/api/runner/{running}/artifacts/x?epoch=1", b"x"),
    ("PUT", "/api/runner/{running}/output-values?epoch=1", b"a=1"),
    ("POST", "/api/runner/{running}/artifacts?epoch=1", BATCH),
    ("POST", "/api/runner/{running}/inputs?epoch=1", WANTED),
    ("POST", "/api/projects/{project}/builds/{build}/approve", {}),
    ("POST", "/api/projects/-/builds/{build}/approve", {}),
    ("GET", "/api/projects/{project}/deliveries", None),
    ("POST", "/api/projects/{project}/laptop-results", {}),
    ("POST", "/api/projects/{project}/deliveries/any/redeliver", {}),
    ("PUT", "/api/projects/{project}/credential", {"token": "x"}),
    ("DELETE", "/api/projects/{project}/credential", None),
    ("PUT", "/api/projects/{project}/forge-token", {"token": "x"}),
    ("DELETE", "/api/projects/{project}/forge-token", None),
    ("POST", "/api/projects/{project}/forge-webhook", None),
    ("POST", "/api/projects/{project}/forge-check", None),
    ("GET", "/api/projects/{project}/outbox", None),
    ("GET", "/api/projects/{project}/outbox/1", None),
    ("POST", "/api/projects/{project}/outbox/1/retry", {}),
    ("GET", "/api/projects/{project}/badge.svg", None),
    ("GET", "/api/projects/{project}/builds.atom", None),
    ("GET", "/api/projects/{project}/notifications", None),
    ("POST", "/api/projects/{project}/notifications", {"on": ["failed"], "email": "a@b.example"}),
    ("DELETE", "/api/projects/{project}/notifications/x", None),
    ("GET", "/api/projects/{project}/registries", None),
    ("PUT", "/api/projects/{project}/registries/h.example", {"username": "x", "password": "x"}),
    ("DELETE", "/api/projects/{project}/registries/h.example", None),
    ("POST", "/api/projects/{project}/registries/h.example/try", None),
    ("POST", "/api/accounts/{account}/registries/h.example/try", None),
    ("GET", "/api/accounts/{account}/registries", None),
    ("PUT", "/api/accounts/{account}/registries/h.example", {"username": "x", "password": "x"}),
    ("DELETE", "/api/accounts/{account}/registries/h.example", None),
    ("GET", "/api/projects/{project}/secrets", None),
    ("PUT", "/api/projects/{project}/secrets/NAME", {"value": "x"}),
    ("DELETE", "/api/projects/{project}/secrets/NAME", None),
    ("GET", "/api/accounts/{account}/secrets", None),
    ("PUT", "/api/accounts/{account}/secrets/NAME", {"value": "x"}),
    ("DELETE", "/api/accounts/{account}/secrets/NAME", None),
    ("GET", "/api/builds/{image_build}", None),
    ("POST", "/api/builds/{image_build}/cancel", {}),
    ("GET", "/api/deploy/{deployment}", None),
    ("POST", "/api/deploy/{deployment}/stop", {}),
    ("GET", "/api/build_synthesis/status/{build}", None),
    ("GET", "/api/build_synthesis/logs/{build}", None),
    ("GET", "/artifacts/any/out?build={build}", None),
    ("GET", "/api/v1/builds/{build}", None),
    ("DELETE", "/api/v1/builds/{done_build}", None),
    ("POST", "/api/v1/builds/{build}/start", {}),
    ("POST", "/api/v1/builds/{build}/cancel", {}),
    ("POST", "/api/v1/builds/{done_build}/retry", {}),
    ("GET", "/api/v1/builds/{build}/status", None),
    ("GET", "/api/v1/builds/{done_build}/logs", None),
    ("GET", "/api/v1/builds/{build}/logs?follow=true", None),
    ("GET", "/api/v1/builds/{build}/logs/stream", None),
    ("GET", "/git/{account}/{slug}.git/info/refs?service=git-upload-pack", None),
    ("GET", "/git/{account}/{slug}.git/info/refs?service=git-receive-pack", None),
    ("GET", "/api/runner/{running}/submodules?epoch=1", None),
    ("GET", "/api/runner/{running}/refs?epoch=1", None),
    ("POST", "/api/runner/{running}/lfs?epoch=1", {"objects": []}),
    ("GET", f"/api/runner/{{running}}/lfs/{'1' * 64}?epoch=1&size=1", None),
    ("POST", "/git/{account}/{slug}.git/info/lfs/objects/batch", LFS_BATCH),
    ("PUT", f"/git/{{account}}/{{slug}}.git/info/lfs/objects/{'1' * 64}", b"x"),
    ("GET", f"/git/{{account}}/{{slug}}.git/info/lfs/objects/{'1' * 64}", None),
    ("GET", "/git/{account}/{slug}.git/info/lfs/locks", None),
    ("POST", "/git/{account}/{slug}.git/info/lfs/locks", {}),
    ("POST", "/git/{account}/{slug}.git/info/lfs/locks/verify", {}),
    ("POST", "/git/{account}/{slug}.git/git-upload-pack", b"0000"),
    ("POST", "/git/{account}/{slug}.git/git-receive-pack", b"0000"),
]


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


FOR_ADMINISTRATORS: list[tuple[str, str, Any, str]] = [
    ("GET", "/api/users", None, ""),
    ("POST", "/api/users", {}, ""),
    ("GET", "/api/users/x", None, ""),
    ("PATCH", "/api/users/x", {"disabled": True}, ""),
    ("PUT", "/api/users/x/password", {"password": "x"}, ""),
    ("PUT", "/api/users/x/memberships/acme", {"role": "viewer"}, ""),
    ("DELETE", "/api/users/x/memberships/acme", None, ""),
    ("POST", "/api/signing-keys", {}, ""),
    ("GET", "/api/retention", None, ""),
    ("PATCH", "/api/retention", {}, ""),
]


ALLOWED: list[tuple[str, str, Any, str]] = [
    # method, path, body, who may
    ("GET", "/api/projects?accountId=acme", None, "viewer developer maintainer"),
    ("GET", "/api/overview", None, "viewer developer maintainer"),
    ("GET", "/api/session", None, "viewer developer maintainer"),
    ("GET", "/api/projects/{project}", None, "viewer developer maintainer"),
    ("PATCH", "/api/projects/{project}", {"defaultBranch": "main"}, "maintainer"),
    ("DELETE", "/api/projects/{project}", None, "maintainer"),  # builds of it go on: a 409
    ("POST", "/api/projects/{project}/webhook-secret", {}, "maintainer"),
    ("GET", "/api/projects/{project}/workflows", None, "viewer developer maintainer"),
    ("GET", "/api/projects/{project}/builds", None, "viewer developer maintainer"),
    ("GET", "/api/projects/-/builds", None, "viewer developer maintainer"),
    ("GET", "/api/projects/-/builds/{build}", None, "viewer developer maintainer"),
    ("POST", "/api/build_synthesis/trigger", {"module_name": "no"}, "developer maintainer"),
    ("GET", "/api/build_synthesis/status/{build}", None, "viewer developer maintainer"),
    ("GET", "/api/build_synthesis/logs/{build}", None, "viewer developer maintainer"),
    ("GET", "/artifacts/no/out", None, "viewer developer maintainer"),
    ("GET", "/api/accounts", None, "viewer developer maintainer"),
    ("GET", "/api/agents", None, "viewer developer maintainer"),
    ("GET", "/api/agents/demand", None, "viewer developer maintainer"),
    ("GET", "/api/agents/{agent}", None, "viewer developer maintainer"),
    ("POST", "/api/agents/{agent}/pause", {}, "maintainer"),
    ("POST", "/api/agents/{agent}/drain", {}, "maintainer"),
    ("POST", "/api/agents/{agent}/resume", {}, "maintainer"),
    ("DELETE", "/api/agents/{agent}", None, "maintainer"),
    ("GET", "/api/docker-images", None, "viewer developer maintainer"),
    ("GET", "/api/steps/{done}/log", None, "viewer developer maintainer agent"),
    ("GET", "/api/steps/{done}/artifacts", None, "viewer developer maintainer agent"),
    ("GET", "/api/steps/{done}/artifacts/out", None, "viewer developer maintainer agent"),
    ("GET", "/api/steps/{done}/artifacts.zip", None, "viewer developer maintainer"),
    (
        "GET",
        "/api/projects/{project}/builds/{build}/artifacts.zip",
        None,
        "viewer developer maintainer",
    ),
    ("GET", "/api/steps/{done}/outputs", None, "viewer developer maintainer agent"),
    ("GET", "/api/steps/{done}/why", None, "viewer developer maintainer"),
    ("GET", "/api/projects/{project}/builds/{build}/results", None, "viewer developer maintainer"),
    ("GET", "/api/projects/{project}/builds/{build}/tests", None, "viewer developer maintainer"),
    ("GET", "/api/projects/{project}/tests/history?name=x", None, "viewer developer maintainer"),
    (
        "GET",
        "/git/{account}/{slug}.git/info/refs?service=git-upload-pack",
        None,
        "viewer developer maintainer agent step",
    ),
    (
        "GET",
        "/git/{account}/{slug}.git/info/refs?service=git-receive-pack",
        None,
        "developer maintainer",
    ),
    ("POST", "/git/{account}/{slug}.git/git-receive-pack", b"0000", "developer maintainer"),
    (
        "POST",
        "/git/{account}/{slug}.git/info/lfs/objects/batch",
        LFS_BATCH | {"operation": "download"},
        "viewer developer maintainer agent step",
    ),
    ("POST", "/git/{account}/{slug}.git/info/lfs/objects/batch", LFS_BATCH, "developer maintainer"),
    (
        "PUT",
        f"/git/{{account}}/{{slug}}.git/info/lfs/objects/{'1' * 64}",
        b"x",
        "developer maintainer",
    ),
    (
        "GET",
        "/api/runner/{running}/submodules?epoch=1",
        None,
        "developer maintainer agent step",
    ),
    ("GET", "/api/runner/{running}/refs?epoch=1", None, "developer maintainer agent step"),
    ("POST", "/api/projects/{project}/builds", {"workflowId": "no"}, "developer maintainer"),
    ("POST", "/api/projects/-/builds/{done_build}/cancel", {}, "developer maintainer"),
    ("POST", "/api/projects/-/builds/{build}/retry", {}, "developer maintainer"),
    ("POST", "/api/projects/-/builds/{build}/pin", {}, "developer maintainer"),
    ("POST", "/api/projects/-/builds/{build}/unpin", {}, "developer maintainer"),
    ("GET", "/api/projects/{project}/retention", None, "viewer developer maintainer"),
    ("PATCH", "/api/projects/{project}/retention", {}, "maintainer"),
    ("GET", "/api/storage", None, "viewer developer maintainer"),
    ("POST", "/api/steps/{ready}/approve", {}, "developer maintainer"),
    ("POST", "/api/steps/{ready}/reject", {}, "developer maintainer"),
    ("POST", "/api/projects", {"accountId": "acme"}, "maintainer"),
    ("POST", "/api/projects/{project}/workflows", {}, "maintainer"),
    ("POST", "/api/docker-images", {}, "maintainer"),
    ("PATCH", "/api/docker-images/{image}", {"imageUrl": "x"}, "maintainer"),
    ("DELETE", "/api/docker-images/{image}", None, "maintainer"),
    ("POST", "/api/projects/-/builds/{build}/approve", {}, "maintainer"),
    ("DELETE", "/api/projects/-/builds/{build}", None, "maintainer"),
    ("GET", "/api/projects/{project}/deliveries", None, "viewer developer maintainer"),
    ("POST", "/api/projects/{project}/deliveries/any/redeliver", {}, "developer maintainer"),
    ("PUT", "/api/projects/{project}/credential", {"token": "x"}, "maintainer"),
    ("DELETE", "/api/projects/{project}/credential", None, "maintainer"),
    ("PUT", "/api/projects/{project}/forge-token", {"token": "x"}, "maintainer"),
    ("POST", "/api/projects/{project}/laptop-results", {}, "developer maintainer"),
    ("DELETE", "/api/projects/{project}/forge-token", None, "maintainer"),
    ("POST", "/api/projects/{project}/forge-webhook", None, "maintainer"),
    ("POST", "/api/projects/{project}/forge-check", None, "maintainer"),
    ("GET", "/api/projects/{project}/outbox", None, "viewer developer maintainer"),
    ("GET", "/api/projects/{project}/outbox/1", None, "viewer developer maintainer"),
    ("POST", "/api/projects/{project}/outbox/1/retry", {}, "developer maintainer"),
    ("GET", "/api/projects/{project}/badge.svg", None, "viewer developer maintainer"),
    ("GET", "/api/projects/{project}/builds.atom", None, "viewer developer maintainer"),
    ("GET", "/api/projects/{project}/notifications", None, "maintainer"),
    ("POST", "/api/projects/{project}/notifications", {"on": ["failed"]}, "maintainer"),
    ("DELETE", "/api/projects/{project}/notifications/x", None, "maintainer"),
    ("GET", "/api/projects/{project}/registries", None, "maintainer"),
    ("PUT", "/api/projects/{project}/registries/h.example", {}, "maintainer"),
    ("DELETE", "/api/projects/{project}/registries/h.example", None, "maintainer"),
    ("POST", "/api/projects/{project}/registries/h.example/try", None, "maintainer"),
    ("POST", "/api/accounts/{account}/registries/h.example/try", None, "maintainer"),
    ("GET", "/api/accounts/{account}/registries", None, "maintainer"),
    ("PUT", "/api/accounts/{account}/registries/h.example", {}, "maintainer"),
    ("DELETE", "/api/accounts/{account}/registries/h.example", None, "maintainer"),
    ("GET", "/api/projects/{project}/secrets", None, "maintainer"),
    ("PUT", "/api/projects/{project}/secrets/NAME", {"value": "x"}, "maintainer"),
    ("DELETE", "/api/projects/{project}/secrets/NAME", None, "maintainer"),
    ("GET", "/api/accounts/{account}/secrets", None, "maintainer"),
    ("PUT", "/api/accounts/{account}/secrets/NAME", {"value": "x"}, "maintainer"),
    ("DELETE", "/api/accounts/{account}/secrets/NAME", None, "maintainer"),
    ("GET", "/api/builds/{image_build}", None, "viewer developer maintainer"),
    ("GET", "/api/deploy/{deployment}", None, "viewer developer maintainer"),
    ("GET", "/api/deploy", None, "viewer developer maintainer"),
    ("GET", "/api/builds", None, "viewer developer maintainer"),
    ("POST", "/api/builds/{image_build}/cancel", {}, "developer maintainer"),
    ("POST", "/api/builds", {}, "developer maintainer"),
    ("POST", "/api/deploy", {}, "developer maintainer"),
    ("POST", "/api/deploy/{deployment}/stop", {}, "developer maintainer"),
    ("GET", "/api/v1/builds", None, "viewer developer maintainer"),
    ("POST", "/api/v1/builds", {}, "developer maintainer"),
    ("GET", "/api/v1/builds/{done_build}", None, "viewer developer maintainer"),
    ("GET", "/api/v1/builds/{done_build}/status", None, "viewer developer maintainer"),
    ("GET", "/api/v1/builds/{done_build}/logs", None, "viewer developer maintainer"),
    ("GET", "/api/v1/builds/{done_build}/logs/stream", None, "viewer developer maintainer"),
    ("POST", "/api/v1/builds/{done_build}/start", {}, "developer maintainer"),
    ("POST", "/api/v1/builds/{done_build}/cancel", {}, "developer maintainer"),
    ("POST", "/api/v1/builds/{done_build}/retry", {}, "developer maintainer"),
    ("DELETE", "/api/v1/builds/{build}", None, "maintainer"),
    *FOR_ADMINISTRATORS,
    ("GET", "/api/audit-logs", None, "maintainer"),
    ("GET", "/api/tokens", None, "maintainer"),
    ("POST", "/api/tokens", {}, "maintainer"),
    ("DELETE", "/api/tokens/no", None, "maintainer"),
    ("POST", "/api/agents/register", {}, "maintainer registration"),
    ("POST", "/api/agents/poll", {"free": 0}, "agent"),
    ("POST", "/api/agents/renew", {"leases": []}, "agent"),
    ("POST", "/api/agents/goodbye", {"instance": "x"}, "agent"),
    ("GET", "/api/runner/{done}", None, "developer maintainer agent"),
    ("POST", "/api/runner/{done}/accept", {"epoch": 1}, "developer maintainer agent step"),
    ("POST", "/api/runner/{done}/image", SETTLED, "developer maintainer agent step"),
    ("POST", "/api/runner/{done}/healthy", {"epoch": 1}, "developer maintainer agent step"),
    ("POST", "/api/runner/{done}/complete", EPOCH, "developer maintainer agent step"),
    ("PATCH", "/api/runner/{done}/log?epoch=1", b"x", "developer maintainer agent step"),
    ("PUT", "/api/runner/{done}/artifacts/x?epoch=1", b"x", "developer maintainer agent step"),
    ("PUT", "/api/runner/{done}/output-values?epoch=1", b"a=1", "developer maintainer agent step"),
    ("POST", "/api/runner/{done}/artifacts?epoch=1", BATCH, "developer maintainer agent step"),
    ("POST", "/api/runner/{done}/inputs?epoch=1", WANTED, "developer maintainer agent step"),
]


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


WITHOUT_TOKEN = {
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),  # with a token of all accounts, or from this machine: see its own tests
    ("GET", "/api/openapi.json"),
    ("GET", "/api/docs"),
    ("POST", "/login"),
    ("POST", "/api/v1/auth/login"),
    ("POST", "/logout"),
    ("GET", "/login"),
    ("GET", "/"),
    ("GET", "/projects/{project_id}"),
    ("GET", "/projects/{project_id}/deliveries"),
    ("GET", "/builds/{build_id}"),
    ("POST", "/api/webhooks/{forge}/{project_id}"),  # by its signature
    ("GET", "/static/{version}/{name}"),
}


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
            f"{route.method} {shown} is not among the routes of this file"
        )
