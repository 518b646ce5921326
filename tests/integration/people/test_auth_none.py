"""`--auth none`: open to whoever is on this machine, and to no page of another site."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from coordinator.settings_file import SettingsError, load_settings
from tests.integration.coordinator_fixture import Coordinator, open_coordinator, step_of


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with open_coordinator(tmp_path, auth="none", poll_hold_seconds=1) as coordinator:
        yield coordinator


async def test_everything_works_without_a_token(coordinator: Coordinator) -> None:
    nobody = coordinator.nobody
    project = (
        (await nobody.post("/api/projects", {"accountId": "me", "name": "x"})).expect(201).json
    )
    path = f"/api/projects/{project['id']}"
    workflow = await nobody.post(f"{path}/workflows", {"name": "ci", "steps": [step_of("a")]})
    wanted = {"workflowId": workflow.expect(201).json["id"]}
    build = (await nobody.post(f"{path}/builds", wanted)).expect(201).json
    [step] = (await nobody.get(f"{path}/builds/{build['id']}")).expect(200).json["steps"]
    script = (await nobody.get(f"/api/runner/{step['id']}")).expect(200)
    assert script.text.startswith("#!")
    done = await nobody.post(f"/api/runner/{step['id']}/complete", {"status": "success"})
    assert done.expect(200).json["buildComplete"] is True


async def test_a_token_still_says_who_calls(coordinator: Coordinator) -> None:
    viewer = await coordinator.admin.new_token(role="viewer", account="acme")
    (await viewer.post("/api/projects", {"accountId": "acme", "name": "x"})).expect(403)
    wrong = {"Authorization": "Bearer pr_wrong"}
    (await coordinator.nobody.call("GET", "/api/accounts", headers=wrong)).expect(401)


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example:{port}"},
        {"Host": "127.0.0.1"},
        {"Host": "127.0.0.1:1"},
        {"Host": ""},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "https://127.0.0.1:{port}"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"X-Forwarded-For": "192.0.2.7"},
        {"Forwarded": "for=192.0.2.7"},
        {"Via": "1.1 proxy"},
    ],
)
async def test_a_page_of_another_site_gets_nothing(
    coordinator: Coordinator, headers: dict[str, str]
) -> None:
    sent = {name: text.format(port=coordinator.port) for name, text in headers.items()}
    for method, path in (("GET", "/api/accounts"), ("POST", "/api/projects")):
        answer = await coordinator.nobody.call(method, path, headers=sent)
        assert answer.status in (400, 403), answer.text
        assert "default" not in answer.text


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]"])
async def test_our_own_pages_and_programs_get_in(coordinator: Coordinator, host: str) -> None:
    named = f"{host}:{coordinator.port}"
    own = {"Host": named, "Origin": f"http://{named}", "Sec-Fetch-Site": "same-origin"}
    for headers in ({"Host": named}, own):
        (await coordinator.nobody.call("GET", "/api/accounts", headers=headers)).expect(200)


@pytest.mark.parametrize("listen", ["0.0.0.0:3000", "[::]:3000", "192.0.2.1:3000", "ci.lan:3000"])
def test_it_is_refused_on_an_address_that_others_reach(tmp_path: Path, listen: str) -> None:
    with pytest.raises(SettingsError, match=r"listen on 127\.0\.0\.1, or use tokens"):
        load_settings(tmp_path, listen, environ={}, auth="none")


@pytest.mark.parametrize("url", ["https://ci.example", "http://192.0.2.1:3000"])
def test_it_is_refused_where_the_public_url_is_another_machines(tmp_path: Path, url: str) -> None:
    with pytest.raises(SettingsError, match="leave public_url out, or use tokens"):
        load_settings(tmp_path, environ={"PUSHROD_PUBLIC_URL": url}, auth="none")


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "127.9.9.9:1", "[::1]:3000", "localhost:3000"])
def test_it_may_be_had_on_loopback(tmp_path: Path, listen: str) -> None:
    assert load_settings(tmp_path, listen, environ={}, auth="none").auth == "none"
