"""The page's sessions of users, how they open and end; and pages that aren't there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.integration.coordinator_fixture import Answer, Caller, Coordinator, open_coordinator
from tests.integration.execution_fixture import PASSWORD, log_in, new_user

ADA = "ada@example.org"
USER = f"/api/users/{ADA}"


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with open_coordinator(tmp_path) as coordinator:
        yield coordinator


@pytest.fixture
def admin(coordinator: Coordinator) -> Caller:
    return coordinator.admin


async def post_form(coordinator: Coordinator, path: str, session: str = "", **form: str) -> Answer:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    if session:
        headers["Cookie"] = f"pushrod_session={session}"
    return await coordinator.nobody.call("POST", path, data=urlencode(form), headers=headers)


async def opened(coordinator: Coordinator, **form: str) -> str:
    """The session's secret."""
    answer = await post_form(coordinator, "/login", **form)
    assert (answer.status, answer.headers["Location"]) == (303, "/")
    return answer.headers["Set-Cookie"].partition("=")[2].partition(";")[0]


async def with_password(coordinator: Coordinator) -> str:
    return await opened(coordinator, email=ADA, password=PASSWORD)


async def seen(
    coordinator: Coordinator, session: str, path: str = "/api/session", **options: Any
) -> Answer:
    headers = {"Cookie": f"pushrod_session={session}", "Origin": coordinator.url}
    method = "POST" if options else "GET"
    return await coordinator.nobody.call(method, path, headers=headers, **options)


async def test_a_password_opens_a_session_with_a_cookie_that_no_script_reads(
    coordinator: Coordinator, admin: Caller
) -> None:
    await new_user(admin, ADA, acme="developer")
    answer = await post_form(
        coordinator, "/login", email=" Ada@Example.org", password=PASSWORD, next="/builds/1"
    )
    assert (answer.status, answer.headers["Location"]) == (303, "/builds/1")
    cookie = answer.headers["Set-Cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    session = await with_password(coordinator)
    found = (await seen(coordinator, session)).expect(200).json
    [account] = found["accounts"]
    assert (found["name"], account["slug"], account["rights"]) == (ADA, "acme", ["build", "read"])
    assert [one["slug"] for one in (await seen(coordinator, session, "/api/accounts")).json] == [
        "acme"
    ]


async def test_a_wrong_password_opens_none_and_guesses_are_stopped_as_at_the_api(
    coordinator: Coordinator, admin: Caller
) -> None:
    await new_user(admin, ADA, acme="developer")
    for _ in range(5):
        answer = await post_form(coordinator, "/login", email=ADA, password="wrong password")
        assert answer.headers["Location"] == "/login?error=password&next=%2F"
        assert "Set-Cookie" not in answer.headers
    for _ in range(5):
        (await log_in(coordinator, ADA, "wrong password")).expect(401)
    answer = await post_form(coordinator, "/login", email=ADA, password=PASSWORD)
    assert answer.headers["Location"] == "/login?error=tries&next=%2F"
    assert int(answer.headers["Retry-After"]) > 0
    assert "Set-Cookie" not in answer.headers
    (await log_in(coordinator, ADA)).expect(429)


@pytest.mark.parametrize(
    "form",
    [{"email": ADA}, {"email": ADA, "password": ""}, {"email": "\0\udcff", "password": "\0"}],
)
async def test_half_a_login_opens_no_session(
    coordinator: Coordinator, admin: Caller, form: dict[str, str]
) -> None:
    await new_user(admin, ADA, acme="developer")
    given = {name: value.encode("utf-8", "surrogateescape") for name, value in form.items()}
    answer = await coordinator.nobody.call(
        "POST",
        "/login",
        data=urlencode(given),
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    assert answer.headers["Location"].startswith("/login?error=password")
    assert "Set-Cookie" not in answer.headers


async def test_a_form_from_another_site_logs_nobody_in_by_password(
    coordinator: Coordinator, admin: Caller
) -> None:
    await new_user(admin, ADA, acme="developer")
    headers = {
        "Content-Type": "application/x-www-form-urlencoded",
        "Origin": "http://evil.example",
    }
    body = urlencode({"email": ADA, "password": PASSWORD})
    answer = await coordinator.nobody.call("POST", "/login", data=body, headers=headers)
    assert (answer.status, "Set-Cookie" in answer.headers) == (403, False)


async def test_signing_out_ends_the_session_alone_and_both_are_audited(
    coordinator: Coordinator, admin: Caller
) -> None:
    await new_user(admin, ADA, acme="developer")
    session, other = await with_password(coordinator), await with_password(coordinator)
    answer = await post_form(coordinator, "/logout", session)
    assert (answer.status, answer.headers["Location"]) == (303, "/login")
    (await seen(coordinator, session)).expect(401)
    (await seen(coordinator, other)).expect(200)
    entries = (await admin.get("/api/audit-logs")).expect(200).json["auditLogs"]
    by_ada = [one["action"] for one in entries if one["details"].get("by") == ADA]
    assert by_ada == ["session.closed", "session.opened", "session.opened"]


@pytest.mark.parametrize("by_token", [False, True])
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", USER, {"disabled": True}),
        ("PUT", f"{USER}/password", {"password": "another password"}),
        ("POST", "/api/signing-keys", {"endLogins": True}),
    ],
)
async def test_a_session_ends_at_once_with_what_ends_logins(
    coordinator: Coordinator, admin: Caller, by_token: bool, method: str, path: str, body: Any
) -> None:
    await new_user(admin, ADA, acme="developer")
    token = (await log_in(coordinator, ADA)).json["token"]
    by_password = await with_password(coordinator)
    session = await opened(coordinator, token=token) if by_token else by_password
    (await seen(coordinator, session)).expect(200)
    (await admin.call(method, path, json=body)).expect(*([200] if method == "PATCH" else [204]))
    (await seen(coordinator, session)).expect(401)
    if method == "PATCH":
        (await admin.call("PATCH", USER, json={"disabled": False})).expect(200)
        (await seen(coordinator, session)).expect(401)


async def test_a_session_opened_with_a_logins_token_lives_no_longer_than_it(
    tmp_path: Path,
) -> None:
    async with open_coordinator(tmp_path, login_seconds=100) as coordinator:
        await new_user(coordinator.admin, ADA, acme="developer")
        token = (await log_in(coordinator, ADA)).json["token"]
        answer = await post_form(coordinator, "/login", token=token)
        cookie = answer.headers["Set-Cookie"]
        assert 0 < int(cookie.partition("Max-Age=")[2].partition(";")[0]) <= 100
        (await seen(coordinator, cookie.partition("=")[2].partition(";")[0])).expect(200)


async def test_a_changed_role_counts_in_open_sessions(
    coordinator: Coordinator, admin: Caller
) -> None:
    await new_user(admin, ADA, acme="viewer")
    session = await with_password(coordinator)
    wanted = {"json": {"accountId": "acme", "name": "shop"}}
    refused = (await seen(coordinator, session, "/api/projects", **wanted)).expect(403)
    assert "the role maintainer has it" in refused.json["error"]
    change = {"role": "maintainer"}
    (await admin.call("PUT", f"{USER}/memberships/acme", json=change)).expect(200)
    (await seen(coordinator, session, "/api/projects", **wanted)).expect(201)


async def test_a_user_of_several_accounts_is_told_what_may_be_done_in_each(
    coordinator: Coordinator, admin: Caller
) -> None:
    await new_user(admin, ADA, acme="viewer", globex="developer")
    project = await admin.new_project("globex", "shop")
    session = await with_password(coordinator)
    found = (await seen(coordinator, session)).expect(200).json
    rights = {one["slug"]: one["rights"] for one in found["accounts"]}
    assert rights == {"acme": ["read"], "globex": ["build", "read"]}
    (await seen(coordinator, session, f"/api/projects/{project['id']}")).expect(200)
    for account in found["accounts"]:
        path = f"/api/overview?accountId={account['id']}"
        overview = (await seen(coordinator, session, path)).expect(200).json
        assert len(overview["projects"]) == (account["slug"] == "globex")
    everywhere = (await admin.get("/api/session")).expect(200).json
    assert "accounts" not in everywhere
    assert "administer" in everywhere["rights"]


MISSING = [
    "/nosuch",
    "/builds/nosuch",
    "/builds/11111111-1111-1111-1111-111111111111",
    "/projects/nosuch",
    "/projects/nosuch/deliveries",
    "/projects/-",
]


async def browse(coordinator: Coordinator, path: str, session: str) -> Answer:
    headers = {"Accept": "text/html,*/*;q=0.8", "Cookie": f"pushrod_session={session}"}
    return await coordinator.nobody.call("GET", path, headers=headers)


@pytest.mark.parametrize("path", MISSING)
async def test_a_page_that_is_not_there_is_a_page_with_status_404(
    coordinator: Coordinator, admin: Caller, path: str
) -> None:
    session = await opened(coordinator, token=admin.token or "")
    answer = await browse(coordinator, path, session)
    assert answer.status == 404
    assert answer.headers["Content-Type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert "<title>Not found · pushrod</title>" in answer.text
    assert '<a href="/">Projects</a>' in answer.text


async def test_machines_are_told_in_json(coordinator: Coordinator, admin: Caller) -> None:
    assert (await admin.get("/nosuch")).expect(404).json == {"error": "Not Found"}
    session = await opened(coordinator, token=admin.token or "")
    for path in ("/api/nosuch", "/api/projects/nosuch"):
        answer = await browse(coordinator, path, session)
        assert (answer.status, "error" in answer.json) == (404, True)


async def test_anothers_build_is_as_one_that_is_not_there_and_ones_own_is_shown(
    coordinator: Coordinator, admin: Caller
) -> None:
    project = await admin.new_project("acme", "shop")
    build = await admin.new_build(project)
    await new_user(admin, ADA, acme="viewer", initech="viewer")
    await new_user(admin, "eve@example.org", globex="maintainer")
    ada = await with_password(coordinator)
    eve = await opened(coordinator, email="eve@example.org", password=PASSWORD)
    paths = [f"/builds/{build['id']}", f"/projects/{project['id']}"]
    for path in [*paths, f"/projects/{project['id']}/deliveries"]:
        (await browse(coordinator, path, ada)).expect(200)
        (await browse(coordinator, path, eve)).expect(404)
        (await browse(coordinator, path, "")).expect(200)  # led to the login, as from any
    for path in MISSING[1:]:
        (await browse(coordinator, path, "")).expect(200)
