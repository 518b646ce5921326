"""Who sees and does what: accounts, roles, step tokens, sessions. Every route is walked."""

from __future__ import annotations

import asyncio
import base64
import importlib
import json
import pkgutil
import re
import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from aiohttp import web

from coordinator import api
from coordinator.web import pages
from tests.integration.coordinator_fixture import (
    ONE_STEP,
    AgentCaller,
    Answer,
    Caller,
    Coordinator,
    new_work_tree,
    open_coordinator,
    step_of,
    try_git,
)


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with open_coordinator(tmp_path, poll_hold_seconds=1, lease_seconds=60) as coordinator:
        yield coordinator


@pytest.fixture
def admin(coordinator: Coordinator) -> Caller:
    return coordinator.admin


@dataclass(frozen=True, kw_only=True)
class House:
    """An account with one of everything."""

    project: dict[str, Any]
    workflow_id: str
    running: dict[str, Any]
    """The spec of a step that runs; its build's other step is ready."""
    ready_id: str
    done: dict[str, Any]
    """The spec of a step that has ended, with an artifact and a log."""
    agent: AgentCaller
    spare: AgentCaller
    """Another agent, which may be paused."""
    maintainer: Caller
    deployment: dict[str, Any]
    image_id: str

    def fill(self, path: str) -> str:
        return path.format(
            project=self.project["id"],
            slug=self.project["slug"],
            account=self.project["account"],
            build=self.running["buildId"],
            done_build=self.done["buildId"],
            running=self.running["stepId"],
            ready=self.ready_id,
            done=self.done["stepId"],
            deployment=self.deployment["id"],
            image_build=self.deployment["build_id"],
            image=self.image_id,
            agent=self.spare.agent_id,
        )


async def furnish(admin: Caller, account: str) -> House:
    project = await admin.new_project(account, f"{account} project")
    maintainer = await admin.new_token(role="maintainer", account=account)
    registrar = await admin.new_token(kind="registration", account=account)
    agent = await registrar.new_agent(f"agent of {account}")
    workflow_id = await maintainer.new_workflow(project)
    await maintainer.new_build(project)
    done = await agent.take()
    (await agent.append(done, 0, f"log of {account}\n".encode())).expect(204)
    (await agent.upload(done, "out", f"artifact of {account}".encode())).expect(201)
    (await agent.complete(done)).expect(200)
    build = await maintainer.new_build(project, step_of("a"), step_of("b"))
    running = await agent.take()
    ready_id = next(s["id"] for s in build["steps"] if s["id"] != running["stepId"])
    image = {"slug": f"{account}-image", "imageUrl": "docker://debian"}
    made = (await maintainer.post("/api/docker-images", image)).expect(201)
    deployment = await maintainer.post("/api/deploy", DEPLOYMENT)
    return House(
        deployment=deployment.expect(202).json,
        image_id=made.json["id"],
        project=project,
        workflow_id=workflow_id,
        running=running,
        ready_id=ready_id,
        done=done,
        agent=agent,
        spare=await registrar.new_agent(f"spare of {account}"),
        maintainer=maintainer,
    )


DEPLOYMENT = {"agent_name": "bot", "source_files": {"agent.py": "..."}}
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


async def test_a_steps_token_reads_the_artifacts_of_its_own_build_alone(
    coordinator: Coordinator, admin: Caller
) -> None:
    house = await furnish(admin, "acme")
    step = Caller(coordinator, house.running["token"])
    elsewhere = f"/api/steps/{house.done['stepId']}/artifacts"
    assert (await step.get(elsewhere)).status == 404
    assert (await step.get(f"{elsewhere}/out")).status == 404
    await house.maintainer.new_build(house.project, step_of("c"), step_of("d", "c"))
    (await house.agent.complete(await house.agent.take())).expect(200)  # house's second step
    first = await house.agent.take()
    (await house.agent.upload(first, "x", b"mine")).expect(201)
    (await house.agent.complete(first)).expect(200)
    second = Caller(coordinator, (await house.agent.take())["token"])
    assert (await second.get(f"/api/steps/{first['stepId']}/artifacts/x")).body == b"mine"


async def test_a_steps_token_reads_its_own_projects_source_alone(
    coordinator: Coordinator, admin: Caller, tmp_path: Path
) -> None:
    house = await furnish(admin, "acme")
    secret = await admin.new_project("acme", "secret")
    tree = await new_work_tree(tmp_path, admin, secret)
    await tree.commit({".pushrod.yml": ONE_STEP})
    await tree.push()
    step = Caller(coordinator, house.running["token"])
    environment = coordinator.push_environment(step)
    refused = await try_git(tmp_path, "clone", secret["pushUrl"], "a", environment=environment)
    assert refused.exit_code != 0
    own = await try_git(
        tmp_path, "clone", "-q", house.project["pushUrl"], "b", environment=environment
    )
    assert own.exit_code == 0, own.errors
    pushed = await try_git(
        tree.folder, "push", house.project["pushUrl"], "main", environment=environment
    )
    assert pushed.exit_code != 0


async def test_a_steps_token_ends_with_its_attempt(coordinator: Coordinator, admin: Caller) -> None:
    house = await furnish(admin, "acme")
    step = Caller(coordinator, house.running["token"])
    path = f"/api/runner/{house.running['stepId']}/artifacts/x"
    (await step.call("PUT", path, data=b"x")).expect(201)
    (await house.agent.complete(house.running)).expect(200)
    answer = await step.call("PUT", path, data=b"x")
    assert (answer.status, answer.json["stale"]) == (409, True)


async def test_a_steps_token_speaks_for_its_own_epoch_alone(
    coordinator: Coordinator, admin: Caller
) -> None:
    house = await furnish(admin, "acme")
    spec = house.running
    (await house.agent.complete(spec, status="failed", exitCode=None, reason="lost")).expect(200)
    again: dict[str, Any] = {}
    while again.get("stepId") != spec["stepId"]:
        again = await house.agent.take()
    step = Caller(coordinator, again["token"])
    path = f"/api/runner/{spec['stepId']}/log?epoch={spec['epoch']}"
    answer = await step.call("PATCH", path, data=b"x", headers={"Upload-Offset": "0"})
    assert (answer.status, answer.json["stale"]) == (409, True)


# Accounts and tokens


async def test_an_unknown_account_is_made_by_the_administrator_alone(admin: Caller) -> None:
    maintainer = await admin.new_token(role="maintainer", account="acme")
    wide = await admin.new_token(role="maintainer")
    for caller in (maintainer, wide):
        answer = await caller.post("/api/projects", {"accountId": "new", "name": "x"})
        assert answer.status == 404
    other = await admin.new_project("other")
    for account in ("other", other["accountUuid"]):
        answer = await maintainer.post("/api/projects", {"accountId": account, "name": "x"})
        assert answer.status == 404
        (await maintainer.get(f"/api/projects?accountId={account}")).expect(404)
    accounts = [account["slug"] for account in (await maintainer.get("/api/accounts")).json]
    assert accounts == ["acme"]


async def test_lists_show_ones_own_account_alone(coordinator: Coordinator, admin: Caller) -> None:
    house, other = await furnish(admin, "acme"), await furnish(admin, "other")
    public = {"slug": "everybodys", "imageUrl": "x", "public": True}
    (await other.maintainer.post("/api/docker-images", public)).expect(201)
    mine = house.maintainer

    async def text(path: str) -> str:
        return (await mine.get(path)).expect(200).text

    for path in ("/api/projects/-/builds", "/api/overview"):
        assert other.project["id"] not in await text(path)
        assert house.project["id"] in await text(path)
    images = json.loads(await text("/api/docker-images"))
    # Public is what an administrator made so.
    assert [image["slug"] for image in images] == ["acme-image"]
    assert "agent of other" not in await text("/api/agents")
    audit = await text("/api/audit-logs")
    assert other.project["id"] not in audit
    assert house.project["id"] in audit
    assert other.project["id"] not in await text(f"/api/audit-logs?projectId={other.project['id']}")
    tokens = json.loads(await text("/api/tokens"))
    account_id = house.project["accountUuid"]
    assert tokens
    assert {token["accountId"] for token in tokens} == {account_id}
    total = json.loads(await text("/api/projects/-/builds"))["pagination"]["total"]
    assert total == 3
    deployments = json.loads(await text("/api/deploy"))["deployments"]
    assert [one["id"] for one in deployments] == [house.deployment["id"]]
    image_builds = json.loads(await text("/api/builds"))["builds"]
    assert [one["id"] for one in image_builds] == [house.deployment["build_id"]]


async def test_nobody_makes_a_token_of_more_rights_than_the_own(admin: Caller) -> None:
    maintainer = await admin.new_token(role="maintainer", account="acme")
    for body, status in [
        ({"name": "x", "role": "admin"}, 403),
        ({"name": "x", "role": "agent"}, 400),
        ({"name": "x", "role": "maintainer", "account": "other"}, 404),
        ({"name": "x", "kind": "session"}, 400),
        ({"name": "x", "kind": "agent"}, 400),
        ({"name": "x", "colour": "red"}, 400),
        ({"name": "x", "expiresInDays": 0}, 400),
        ({"name": "x", "expiresInDays": 10**12}, 400),
        ({"name": "x", "role": "maintainer"}, 201),
    ]:
        answer = await maintainer.post("/api/tokens", body)
        assert answer.status == status, (body, answer.text)
    assert answer.json["accountId"]
    assert answer.headers["Cache-Control"] == "no-store"


async def test_a_maintainer_revokes_no_administrators_token(
    coordinator: Coordinator, admin: Caller
) -> None:
    wide = await admin.new_token(role="maintainer")
    mine = await admin.new_token(role="maintainer", account="acme")
    tokens = (await admin.get("/api/tokens")).json
    admins = next(token["id"] for token in tokens if token["role"] == "admin")
    for caller in (wide, mine):
        answer = await caller.call("DELETE", f"/api/tokens/{admins}")
        assert answer.status in (403, 404)
    (await admin.get("/api/tokens")).expect(200)


async def test_a_revoked_token_is_worth_nothing_at_once(
    coordinator: Coordinator, admin: Caller
) -> None:
    made = (await admin.post("/api/tokens", {"name": "x"})).expect(201).json
    caller = Caller(coordinator, made["token"])
    (await caller.get("/api/accounts")).expect(200)
    (await admin.call("DELETE", f"/api/tokens/{made['id']}")).expect(204)
    assert (await caller.get("/api/accounts")).status == 401
    assert (await admin.call("DELETE", f"/api/tokens/{made['id']}")).status == 404


def set_times(coordinator: Coordinator, token_id: str, **columns: datetime) -> None:
    with closing(sqlite3.connect(coordinator.data / "pushrod.db")) as connection:
        for column, moment in columns.items():
            connection.execute(
                f"UPDATE tokens SET {column} = ? WHERE id = ?",
                (int(moment.timestamp() * 1_000_000), token_id),
            )
        connection.commit()


async def test_an_expired_token_is_worth_nothing(coordinator: Coordinator, admin: Caller) -> None:
    body = {"name": "x", "expiresInDays": 1}
    made = (await admin.post("/api/tokens", body)).expect(201).json
    caller = Caller(coordinator, made["token"])
    assert made["expiresAt"] > made["createdAt"]
    set_times(coordinator, made["id"], expires_at=datetime.now(UTC) - timedelta(seconds=1))
    assert (await caller.get("/api/accounts")).status == 401


async def test_a_token_that_was_believed_a_moment_ago_ends_in_time(
    coordinator: Coordinator, admin: Caller
) -> None:
    body = {"name": "x", "expiresInDays": 1}
    made = (await admin.post("/api/tokens", body)).expect(201).json
    caller = Caller(coordinator, made["token"])
    ends_at = datetime.now(UTC) + timedelta(seconds=4)
    set_times(coordinator, made["id"], expires_at=ends_at)
    (await caller.get("/api/accounts")).expect(200)
    await asyncio.sleep((ends_at - datetime.now(UTC)).total_seconds() + 0.1)
    assert (await caller.get("/api/accounts")).status == 401


async def test_no_secret_is_stored_or_told_again(coordinator: Coordinator, admin: Caller) -> None:
    house = await furnish(admin, "acme")
    session = await log_in(admin)
    registration = await admin.new_token(kind="registration")
    login = {"username": "builder", "password": "registry-password"}
    registries = f"/api/projects/{house.project['id']}/registries"
    (await admin.call("PUT", f"{registries}/registry.example:5000", json=login)).expect(200)
    secrets = [
        login["password"],
        admin.token,
        house.agent.token,
        house.maintainer.token,
        house.running["token"],
        registration.token,
        session,
        (coordinator.data / "secret-key").read_bytes().hex(),
        (await admin.new_project())["webhookSecret"],
    ]
    told = (await admin.get("/api/audit-logs?limit=100")).text
    told += (await admin.get("/api/tokens")).text
    told += (await admin.get(registries)).text
    with closing(sqlite3.connect(coordinator.data / "pushrod.db")) as connection:
        stored = "\n".join(connection.iterdump())
    for secret in secrets:
        assert secret
        assert secret not in told
        assert secret not in stored


async def test_the_audit_log_says_who_did_it(admin: Caller) -> None:
    body = {"name": "anna", "role": "maintainer", "account": "acme"}
    made = (await admin.post("/api/tokens", body)).expect(201).json
    anna = Caller(admin.coordinator, made["token"])
    await anna.new_build(await anna.new_project("acme"))
    (await anna.post("/api/tokens", {"name": "bob", "role": "viewer"})).expect(201)
    entries = (await anna.get("/api/audit-logs")).json["auditLogs"]
    by = {
        (entry["action"], entry["details"].get("name")): entry["details"].get("by")
        for entry in entries
    }
    assert by["project.created", "shop"] == "anna"
    assert by["workflow.created", "ci"] == "anna"
    assert by["build.created", None] == "anna"
    assert by["token.created", "bob"] == "anna"
    assert by["token.created", "anna"] == "admin"


def test_the_admin_token_is_private(tmp_path: Path) -> None:
    async def modes() -> dict[str, int]:
        async with open_coordinator(tmp_path) as coordinator:
            names = ("admin-token", "secret-key", ".")
            return {name: (coordinator.data / name).stat().st_mode & 0o777 for name in names}

    assert asyncio.run(modes()) == {"admin-token": 0o600, "secret-key": 0o600, ".": 0o700}


async def test_a_deleted_admin_token_is_made_anew(coordinator: Coordinator, admin: Caller) -> None:
    await coordinator.stop()
    (coordinator.data / "admin-token").unlink()
    await coordinator.start()
    assert coordinator.admin.token != admin.token
    (await coordinator.admin.get("/api/accounts")).expect(200)


# Sessions


async def log_in(caller: Caller, **form: str) -> str:
    """The session's secret."""
    answer = await post_form(caller.coordinator, "/login", token=caller.token or "", **form)
    assert answer.status == 303
    return answer.headers["Set-Cookie"].partition("=")[2].partition(";")[0]


async def post_form(
    coordinator: Coordinator, path: str, headers: Mapping[str, str] | None = None, **form: str
) -> Answer:
    content_type = {"Content-Type": "application/x-www-form-urlencoded"}
    return await coordinator.nobody.call(
        "POST", path, data=urlencode(form), headers={**content_type, **(headers or {})}
    )


def cookie(session: str) -> dict[str, str]:
    return {"Cookie": f"pushrod_session={session}"}


async def test_a_login_sets_a_cookie_that_no_script_reads(
    coordinator: Coordinator, admin: Caller
) -> None:
    answer = await post_form(coordinator, "/login", token=admin.token or "")
    assert (answer.status, answer.headers["Location"]) == (303, "/")
    parts = answer.headers["Set-Cookie"].lower()
    assert "httponly" in parts
    assert "samesite=strict" in parts
    assert "path=/" in parts
    assert "secure" not in parts, "this coordinator is reached by http"
    session = await log_in(admin)
    assert session != admin.token
    found = await coordinator.nobody.call("GET", "/api/accounts", headers=cookie(session))
    assert found.status == 200


async def test_the_cookie_is_sent_over_tls_alone_where_there_is_tls(tmp_path: Path) -> None:
    async with open_coordinator(tmp_path, public_url="https://ci.example") as coordinator:
        answer = await post_form(coordinator, "/login", token=coordinator.admin.token or "")
        assert "secure" in answer.headers["Set-Cookie"].lower()


@pytest.mark.parametrize(
    ("wanted", "target"),
    [
        ("/builds/1?x=y#z", "/builds/1?x=y#z"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example", "/"),
        ("javascript:alert(1)", "/"),
        ("/\tevil", "/"),
        ("/\n/evil.example", "/"),
        ("/\r\nSet-Cookie: x=y", "/"),
        ("", "/"),
        ("builds", "/"),
        ("\\\\evil.example", "/"),
        ("/\x00/evil.example", "/"),
    ],
)
async def test_a_login_leads_to_no_other_site(
    coordinator: Coordinator, admin: Caller, wanted: str, target: str
) -> None:
    answer = await post_form(coordinator, "/login", token=admin.token or "", next=wanted)
    assert (answer.status, answer.headers["Location"]) == (303, target)


async def test_a_wrong_login_sets_no_cookie(coordinator: Coordinator, admin: Caller) -> None:
    house = await furnish(admin, "acme")
    registration = await admin.new_token(kind="registration")
    wrong = ("", "pr_wrong", "\udcff", house.agent.token, registration.token)
    for token in (*wrong, house.running["token"]):
        form = {"token": (token or "").encode("utf-8", "surrogateescape"), "next": "/builds/1"}
        answer = await coordinator.nobody.call(
            "POST",
            "/login",
            data=urlencode(form),
            headers={"Content-Type": "application/x-www-form-urlencoded"},
        )
        assert answer.status in (303, 401), answer.text
        assert "Set-Cookie" not in answer.headers
        if answer.status == 303:
            assert answer.headers["Location"].startswith("/login?error")


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/x-www-form-urlencoded; charset=nonsense", b"token=x"),
        ("application/x-www-form-urlencoded", b"\xff\xfe=\xff"),
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=b", b"--b\r\n"),
        ("application/json", b"{}"),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\ncontent-disposition: form-data; name="token"; '
            b'filename="x"\r\n\r\nx\r\n--b--\r\n',
        ),
    ],
)
async def test_a_login_form_that_is_none_is_refused(
    coordinator: Coordinator, content_type: str, body: bytes
) -> None:
    answer = await coordinator.nobody.call(
        "POST", "/login", data=body, headers={"Content-Type": content_type}
    )
    assert answer.status in (303, 400), answer.text
    assert "Set-Cookie" not in answer.headers


async def test_a_change_by_session_comes_from_our_own_pages_alone(
    coordinator: Coordinator, admin: Caller
) -> None:
    session = await log_in(admin)
    build = await admin.new_build(await admin.new_project())
    path = f"/api/projects/-/builds/{build['id']}/cancel"
    evil = ["http://evil.example", "null", "", coordinator.url + ".evil.example", None]
    for origin in evil:
        headers = cookie(session) | ({} if origin is None else {"Origin": origin})
        answer = await coordinator.nobody.call("POST", path, headers=headers)
        assert answer.status == 403, origin
    own = cookie(session) | {"Origin": coordinator.url}
    (await coordinator.nobody.call("POST", path, headers=own)).expect(200)


async def test_a_session_can_not_claim_a_step(coordinator: Coordinator, admin: Caller) -> None:
    """A claim is a GET, which a foreign page of the same site could have a browser send."""
    session = await log_in(admin)
    build = await admin.new_build(await admin.new_project())
    path = f"/api/runner/{build['steps'][0]['id']}"
    answer = await coordinator.nobody.call("GET", path, headers=cookie(session))
    assert answer.status == 403
    assert (await admin.build(build["id"]))["steps"][0]["status"] == "READY"


async def test_a_form_from_another_site_logs_nobody_in_or_out(
    coordinator: Coordinator, admin: Caller
) -> None:
    session = await log_in(admin)
    evil = {"Origin": "http://evil.example"}
    answer = await post_form(coordinator, "/login", evil, token=admin.token or "")
    assert (answer.status, "Set-Cookie" in answer.headers) == (403, False)
    assert (await post_form(coordinator, "/logout", evil | cookie(session))).status == 403
    found = await coordinator.nobody.call("GET", "/api/accounts", headers=cookie(session))
    assert found.status == 200


async def test_a_logout_ends_the_session(coordinator: Coordinator, admin: Caller) -> None:
    session = await log_in(admin)
    answer = await post_form(coordinator, "/logout", cookie(session))
    assert (answer.status, answer.headers["Location"]) == (303, "/login")
    found = await coordinator.nobody.call("GET", "/api/accounts", headers=cookie(session))
    assert found.status == 401
    (await admin.get("/api/accounts")).expect(200)


async def test_a_session_has_the_rights_of_its_token_and_ends_with_it(
    coordinator: Coordinator, admin: Caller
) -> None:
    body = {"name": "x", "role": "viewer", "account": "acme", "expiresInDays": 1}
    made = (await admin.post("/api/tokens", body)).expect(201).json
    viewer = Caller(coordinator, made["token"])
    session = await log_in(viewer)
    headers = cookie(session) | {"Origin": coordinator.url}
    refused = await coordinator.nobody.call(
        "POST", "/api/projects", json={"accountId": "acme", "name": "x"}, headers=headers
    )
    assert refused.status == 403
    accounts = await coordinator.nobody.call("GET", "/api/accounts", headers=headers)
    assert [account["slug"] for account in accounts.json] == ["acme"]
    (await admin.call("DELETE", f"/api/tokens/{made['id']}")).expect(204)
    found = await coordinator.nobody.call("GET", "/api/accounts", headers=headers)
    assert found.status == 401


async def test_sessions_are_not_listed_among_the_tokens(admin: Caller) -> None:
    before = (await admin.get("/api/tokens")).json
    await log_in(admin)
    after = (await admin.get("/api/tokens")).json
    assert [token["id"] for token in after] == [token["id"] for token in before]


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
