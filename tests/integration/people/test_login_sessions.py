"""Sessions: a cookie of our own pages alone, with the rights of its token."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.integration.coordinator_fixture import Caller, Coordinator, open_coordinator
from tests.integration.people.furnished_accounts import furnish, log_in, post_form


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with open_coordinator(tmp_path, poll_hold_seconds=1, lease_seconds=60) as coordinator:
        yield coordinator


@pytest.fixture
def admin(coordinator: Coordinator) -> Caller:
    return coordinator.admin


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
