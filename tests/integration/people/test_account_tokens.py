"""Accounts and their tokens: who makes, sees and ends them."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.integration.coordinator_fixture import Caller, Coordinator, open_coordinator
from tests.integration.people.furnished_accounts import furnish, log_in


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with open_coordinator(tmp_path, poll_hold_seconds=1, lease_seconds=60) as coordinator:
        yield coordinator


@pytest.fixture
def admin(coordinator: Coordinator) -> Caller:
    return coordinator.admin


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
