"""Users: made by administrators, logged in by password, shut out at once."""

from __future__ import annotations

import asyncio
import base64
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.integration.coordinator_fixture import (
    Answer,
    Caller,
    Coordinator,
    eventually,
    open_coordinator,
)
from tests.integration.execution_fixture import (
    PASSWORD,
    Tenant,
    assert_envelope,
    log_in,
    logged_in,
    new_user,
)

ADA = "ada@example.org"


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with open_coordinator(tmp_path) as coordinator:
        yield coordinator


@pytest.fixture
def admin(coordinator: Coordinator) -> Caller:
    return coordinator.admin


async def test_a_user_is_made_listed_and_logs_in(coordinator: Coordinator, admin: Caller) -> None:
    made = await new_user(admin, " Ada@Example.org ", acme="developer")
    assert made["email"] == ADA
    assert [(one["account"], one["role"]) for one in made["memberships"]] == [("acme", "developer")]
    assert "password" not in json.dumps(made)
    [listed] = (await admin.get("/api/users")).expect(200).json
    assert listed == made
    assert (await admin.get(f"/api/users/{ADA}")).expect(200).json == made

    answer = (await log_in(coordinator, "ADA@example.org")).expect(200)
    body = answer.json
    assert body["token"] == body["access_token"]
    assert (body["token_type"], body["expires_in"]) == ("Bearer", 12 * 3600)
    assert body["user"] == {"id": made["id"], "email": ADA, "administrator": False}
    [tenant] = body["tenants"]
    assert (tenant["slug"], tenant["role"]) == ("acme", "developer")
    assert tenant["permissions"] == ["build:create", "build:list", "build:read", "build:cancel"]
    ada = Tenant(coordinator, body["token"], tenant["id"])
    (await ada.v1("GET", "/builds")).expect(200)
    accounts = (await ada.get("/api/accounts")).expect(200).json
    assert [account["slug"] for account in accounts] == ["acme"], "everywhere a token is taken"


async def test_no_password_and_no_token_is_stored_or_logged(
    coordinator: Coordinator, admin: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    await new_user(admin, ADA, acme="viewer")
    token = (await log_in(coordinator, ADA)).json["token"]
    await log_in(coordinator, ADA, "a wrong password")
    with closing(sqlite3.connect(coordinator.data / "pushrod.db")) as connection:
        dump = "\n".join(connection.iterdump())
        [(hashed,)] = connection.execute("SELECT password_hash FROM users").fetchall()
    assert hashed.startswith("$argon2id$")
    for secret in (PASSWORD, "a wrong password", token, token.rpartition(".")[2]):
        assert secret not in dump
        assert secret not in caplog.text


async def test_each_refused_login_says_the_same(coordinator: Coordinator, admin: Caller) -> None:
    await new_user(admin, ADA, acme="viewer")
    await new_user(admin, "out@example.org", acme="viewer")
    change = {"disabled": True}
    (await admin.call("PATCH", "/api/users/out@example.org", json=change)).expect(200)
    refusals = [
        await log_in(coordinator, ADA, "wrong password"),
        await log_in(coordinator, "nobody@example.org"),
        await log_in(coordinator, "no email at all"),
        await log_in(coordinator, "out@example.org"),
        await log_in(coordinator, "out@example.org", "wrong password"),
    ]
    bodies = [assert_envelope(one, 401, "UNAUTHORIZED") for one in refusals]
    assert {one["error"] for one in bodies} == {"the email or the password is wrong"}
    assert len({frozenset(one.headers) for one in refusals}) == 1


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"email": ADA},
        {"password": "x"},
        {"email": 1, "password": "x"},
        {"email": ADA, "password": "x", "more": 1},
        {"email": ADA, "password": "x" * 20_000},
        {"email": "x" * 5000, "password": "x"},
        {"email": "a\0b", "password": "x"},
        [],
        None,
    ],
)
async def test_a_login_that_is_none_is_told(coordinator: Coordinator, body: Any) -> None:
    answer = await coordinator.nobody.call("POST", "/api/v1/auth/login", json=body)
    assert_envelope(answer, 400, "INVALID_REQUEST")


async def test_guesses_are_stopped_and_so_are_those_made_at_once(
    coordinator: Coordinator, admin: Caller
) -> None:
    await new_user(admin, ADA, acme="viewer")
    for email in (ADA, "nobody@example.org"):  # one that is not there is no exception
        answers = await asyncio.gather(
            *(log_in(coordinator, email, "wrong one") for _ in range(15))
        )
        statuses = sorted(answer.status for answer in answers)
        assert statuses == [401] * 10 + [429] * 5
        stopped = next(answer for answer in answers if answer.status == 429)
        assert_envelope(stopped, 429, "TOO_MANY_REQUESTS")
        assert 0 < int(stopped.headers["Retry-After"]) <= 15 * 60 + 1
    assert (await log_in(coordinator, ADA)).status == 429, "the right one helps no more"
    await new_user(admin, "bob@example.org", acme="viewer")
    (await log_in(coordinator, "bob@example.org")).expect(200)


async def test_logins_that_succeed_are_not_counted(coordinator: Coordinator, admin: Caller) -> None:
    await new_user(admin, ADA, acme="viewer")
    for _ in range(12):
        (await log_in(coordinator, ADA)).expect(200)


async def works(caller: Tenant) -> Answer:
    return await caller.v1("GET", "/builds")


async def test_a_disabled_user_is_out_at_once_and_stays_out_with_old_logins(
    coordinator: Coordinator, admin: Caller
) -> None:
    await new_user(admin, ADA, acme="viewer")
    ada = await logged_in(coordinator, ADA)
    (await works(ada)).expect(200)
    (await admin.call("PATCH", f"/api/users/{ADA}", json={"disabled": True})).expect(200)
    assert_envelope(await works(ada), 401, "UNAUTHORIZED")
    (await log_in(coordinator, ADA)).expect(401)
    (await admin.call("PATCH", f"/api/users/{ADA}", json={"disabled": False})).expect(200)
    (await works(ada)).expect(401)
    (await works(await logged_in(coordinator, ADA))).expect(200)


async def test_a_changed_password_ends_the_logins_of_before(
    coordinator: Coordinator, admin: Caller
) -> None:
    await new_user(admin, ADA, acme="viewer")
    ada = await logged_in(coordinator, ADA)
    (await works(ada)).expect(200)
    body = {"password": "another password"}
    (await admin.call("PUT", f"/api/users/{ADA}/password", json=body)).expect(204)
    (await works(ada)).expect(401)
    (await log_in(coordinator, ADA)).expect(401)
    (await works(await logged_in(coordinator, ADA, "another password"))).expect(200)


async def test_a_changed_role_holds_at_once(coordinator: Coordinator, admin: Caller) -> None:
    await new_user(admin, ADA, acme="viewer")
    ada = await logged_in(coordinator, ADA)
    path = f"/api/users/{ADA}/memberships/acme"
    (await ada.v1("POST", "/builds", {})).expect(403)
    (await admin.call("PUT", path, json={"role": "developer"})).expect(200)
    (await ada.v1("POST", "/builds", {})).expect(400)
    (await admin.call("DELETE", path)).expect(204)
    (await works(ada)).expect(403)
    (await ada.get("/api/accounts")).expect(403)


async def test_a_user_of_several_accounts_chooses_one_by_the_header(
    coordinator: Coordinator, admin: Caller
) -> None:
    await new_user(admin, ADA, acme="viewer", other="maintainer")
    body = (await log_in(coordinator, ADA)).expect(200).json
    tenants = {one["slug"]: one["id"] for one in body["tenants"]}
    ada = Caller(coordinator, body["token"])
    refused = await ada.get("/api/accounts")
    assert "X-Tenant-ID" in refused.expect(400).json["error"]
    (await ada.post("/api/tokens", {"name": "x"})).expect(400)
    for slug, status in (("acme", 403), ("other", 201)):
        headers = {"X-Tenant-ID": tenants[slug]}
        shown = await ada.call("GET", "/api/accounts", headers=headers)
        assert [one["slug"] for one in shown.expect(200).json] == [slug]
        made = await ada.call("POST", "/api/tokens", headers=headers, json={"name": "x"})
        made.expect(status)
        if status == 201:
            assert made.json["accountId"] == tenants["other"]


async def test_only_administrators_see_and_change_users(
    coordinator: Coordinator, admin: Caller
) -> None:
    await new_user(admin, ADA, acme="maintainer")
    ada = await logged_in(coordinator, ADA)
    before = (await admin.get("/api/users")).json
    for method, path, body in (
        ("GET", "/api/users", None),
        ("POST", "/api/users", {"email": "x@y", "password": PASSWORD, "administrator": True}),
        ("GET", f"/api/users/{ADA}", None),
        ("PATCH", f"/api/users/{ADA}", {"disabled": False}),
        ("PUT", f"/api/users/{ADA}/password", {"password": PASSWORD}),
        ("PUT", f"/api/users/{ADA}/memberships/other", {"role": "maintainer"}),
        ("DELETE", f"/api/users/{ADA}/memberships/acme", None),
        ("POST", "/api/signing-keys", {}),
    ):
        (await ada.call(method, path, json=body)).expect(403)
    assert (await admin.get("/api/users")).json == before
    await new_user(admin, "root@example.org", administrator=True)
    root = await logged_in(coordinator, "root@example.org")
    assert len((await root.get("/api/users")).expect(200).json) == 2


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"email": "no email"}, 400),
        ({"password": "short"}, 400),
        ({"roles": {"acme": "admin"}}, 400),
        ({"roles": {"acme": "agent"}}, 400),
        ({"roles": {"acme": "king"}}, 400),
        ({"roles": []}, 400),
        ({"administrator": "yes"}, 400),
        ({"more": 1}, 400),
        ({"email": "ADA@EXAMPLE.ORG"}, 409),
    ],
)
async def test_a_user_that_can_not_be_is_told(
    admin: Caller, change: dict[str, Any], status: int
) -> None:
    await new_user(admin, ADA, acme="viewer")
    body = {"email": "bob@example.org", "password": PASSWORD, **change}
    answer = (await admin.post("/api/users", body)).expect(status)
    assert PASSWORD not in answer.text
    assert len((await admin.get("/api/users")).json) == 1


async def test_what_is_done_to_users_is_in_the_audit_log(
    coordinator: Coordinator, admin: Caller
) -> None:
    await new_user(admin, ADA, acme="viewer")
    await log_in(coordinator, ADA)
    await admin.call("PUT", f"/api/users/{ADA}/password", json={"password": "another one"})
    await admin.call("PATCH", f"/api/users/{ADA}", json={"disabled": True})
    await admin.call("PUT", f"/api/users/{ADA}/memberships/acme", json={"role": "developer"})
    await admin.post("/api/signing-keys", {})
    logs = (await admin.get("/api/audit-logs")).json["auditLogs"]
    actions = {entry["action"] for entry in logs}
    assert {
        "user.created",
        "user.loggedIn",
        "user.passwordChanged",
        "user.disabled",
        "user.roleChanged",
        "signingKey.rotated",
    } <= actions


# Keys


def key_of(token: str) -> str:
    header = token.partition(".")[0]
    return str(json.loads(base64.urlsafe_b64decode(header + "=="))["kid"])


async def test_a_new_key_leaves_old_logins_alone_unless_told_to_end_them(
    coordinator: Coordinator, admin: Caller
) -> None:
    await new_user(admin, ADA, acme="viewer")
    first = await logged_in(coordinator, ADA)
    (await admin.post("/api/signing-keys", {})).expect(204)
    second = await logged_in(coordinator, ADA)
    assert key_of(first.token or "") != key_of(second.token or "")
    (await works(first)).expect(200)
    (await works(second)).expect(200)
    (await admin.post("/api/signing-keys", {"endLogins": True})).expect(204)
    (await works(first)).expect(401)
    (await works(second)).expect(401)
    (await works(await logged_in(coordinator, ADA))).expect(200)


async def test_logins_outlive_a_restart_and_keys_are_sealed(
    coordinator: Coordinator, admin: Caller
) -> None:
    await new_user(admin, ADA, acme="viewer")
    ada = await logged_in(coordinator, ADA)
    await coordinator.restart()
    (await works(ada)).expect(200)
    assert key_of((await logged_in(coordinator, ADA)).token or "") == key_of(ada.token or "")


async def test_a_login_ends_when_it_expires(tmp_path: Path) -> None:
    async with open_coordinator(tmp_path, login_seconds=1) as coordinator:
        await new_user(coordinator.admin, ADA, acme="viewer")
        ada = await logged_in(coordinator, ADA)

        async def refused() -> bool:
            return (await works(ada)).status == 401

        assert await eventually(refused)


async def test_a_login_is_of_this_coordinator_alone(
    tmp_path: Path, coordinator: Coordinator
) -> None:
    (tmp_path / "other").mkdir()
    async with open_coordinator(tmp_path / "other") as other:
        await new_user(other.admin, ADA, acme="viewer")
        stranger = await logged_in(other, ADA)
        here = Tenant(coordinator, stranger.token, stranger.tenant)
        (await works(here)).expect(401)


async def test_a_login_claims_no_more_than_its_rights(
    coordinator: Coordinator, admin: Caller
) -> None:
    await new_user(admin, ADA, acme="viewer")
    ada = await logged_in(coordinator, ADA)
    (await ada.post("/api/agents/register", {"name": "x"})).expect(403)


async def test_refused_logins_are_in_the_audit_log_without_what_was_typed_and_no_flood_is(
    coordinator: Coordinator, admin: Caller
) -> None:
    await new_user(admin, ADA, acme="developer")
    (await log_in(coordinator, ADA, "a wrong password")).expect(401)
    for number in range(110):
        (await log_in(coordinator, f"hunter{number}@example.org", "a wrong password")).expect(401)
    found = await admin.get("/api/audit-logs?limit=100&action=user.loginRefused")
    body = found.expect(200).json
    assert body["pagination"]["total"] == 100
    assert "hunter" not in found.text
    details = [one["details"] for one in body["auditLogs"]]
    assert details[-1]["email"] == ADA
    assert details[-1]["known"]
    assert [index for index, one in enumerate(details) if "leftOutUntil" in one] == [0]
