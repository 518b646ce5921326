"""Artifacts as agents upload them."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.coordinator_fixture import Caller, Coordinator, open_coordinator
from tests.integration.steps.running_steps import is_stale, running


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with open_coordinator(
        tmp_path, max_artifact_bytes=100_000, max_log_bytes=2_000_000, lease_seconds=60
    ) as coordinator:
        yield coordinator


@pytest.fixture
def admin(coordinator: Coordinator) -> Caller:
    return coordinator.admin


# Artifacts


async def test_an_artifact_is_seen_once_its_attempt_has_completed(admin: Caller) -> None:
    agent, spec = await running(admin)
    path = f"/api/steps/{spec['stepId']}/artifacts"
    body = b"\x00\xffbytes"
    stored = (await agent.upload(spec, "dist/a%20b.whl", body, query="&mode=755")).expect(201)
    sha256 = hashlib.sha256(body).hexdigest()
    assert stored.json == {"name": "dist/a b.whl", "size": 7, "sha256": sha256}
    assert (await admin.get(path)).json == []
    assert (await admin.get(f"{path}/dist/a%20b.whl")).status == 404
    (await agent.complete(spec)).expect(200)
    [shown] = (await admin.get(path)).json
    url = f"{admin.coordinator.url}{path}/dist/a%20b.whl"
    assert shown == {"name": "dist/a b.whl", "size": 7, "sha256": sha256, "mode": 493, "url": url}
    found = (await admin.get(f"{path}/dist/a%20b.whl")).expect(200)
    assert found.body == body
    assert found.headers["Content-Type"] == "application/octet-stream"
    assert found.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in found.headers["Content-Security-Policy"]
    assert found.headers["Content-Disposition"].startswith("attachment")


async def test_artifacts_of_a_failed_step_are_kept(admin: Caller) -> None:
    agent, spec = await running(admin)
    (await agent.upload(spec, "report.xml", b"<x/>")).expect(201)
    (await agent.complete(spec, status="failed", exitCode=1)).expect(200)
    names = [a["name"] for a in (await admin.get(f"/api/steps/{spec['stepId']}/artifacts")).json]
    assert names == ["report.xml"]


async def test_uploading_again_replaces(admin: Caller) -> None:
    agent, spec = await running(admin)
    (await agent.upload(spec, "x", b"first")).expect(201)
    (await agent.upload(spec, "x", b"second")).expect(201)
    (await agent.complete(spec)).expect(200)
    answer = await admin.get(f"/api/steps/{spec['stepId']}/artifacts/x")
    assert answer.body == b"second"


@pytest.mark.parametrize(
    "name",
    [
        "..%2Fx",
        "%2e%2e/x",
        "a/%2e%2e/%2e%2e/x",
        "%2Fetc%2Fpasswd",
        "/etc/passwd",
        "a//b",
        "a%2F%2Fb",
        "a/",
        "%2e/a",
        "a%00b",
        "a%0Ab",
        "a%7Fb",
        "a%FFb",
        "%ED%A0%80",
        "x" * 1025,
        "",
    ],
)
async def test_an_artifact_with_a_bad_name_is_refused(admin: Caller, name: str) -> None:
    agent, spec = await running(admin)
    answer = await agent.upload(spec, name, b"evil")
    assert answer.status in (400, 404), answer.text
    assert answer.json["error"]
    (await agent.complete(spec)).expect(200)
    assert (await admin.get(f"/api/steps/{spec['stepId']}/artifacts")).json == []


async def test_a_raw_path_that_climbs_is_refused(admin: Caller) -> None:
    """As an attacker sends it, who does not tidy the path up as clients do."""
    agent, spec = await running(admin)
    host, port = admin.coordinator.url.removeprefix("http://").split(":")
    for name in ("../x", "../../../../x", "a/../../x", "./x", "a//b"):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            f"PUT /api/runner/{spec['stepId']}/artifacts/{name}?epoch=1 HTTP/1.1\r\n"
            f"Host: x\r\nAuthorization: Bearer {agent.token}\r\nContent-Length: 1\r\n"
            "Connection: close\r\n\r\nx".encode()
        )
        status = (await reader.readline()).split()[1]
        assert status in (b"400", b"404", b"405"), (name, status)
        writer.close()
        await writer.wait_closed()
    (await agent.complete(spec)).expect(200)
    assert (await admin.get(f"/api/steps/{spec['stepId']}/artifacts")).json == []


async def test_an_artifacts_digest_is_checked(admin: Caller) -> None:
    agent, spec = await running(admin)
    wrong = await agent.upload(spec, "x", b"abc", headers={"X-Content-Sha256": "0" * 64})
    assert wrong.status == 400
    assert "sha256" in wrong.json["error"]
    right = {"X-Content-Sha256": hashlib.sha256(b"def").hexdigest()}
    (await agent.upload(spec, "y", b"def", headers=right)).expect(201)
    (await agent.complete(spec)).expect(200)
    names = [a["name"] for a in (await admin.get(f"/api/steps/{spec['stepId']}/artifacts")).json]
    assert names == ["y"]


async def test_an_artifact_that_is_too_large_is_refused(admin: Caller) -> None:
    agent, spec = await running(admin)
    (await agent.upload(spec, "fits", b"x" * 100_000)).expect(201)
    assert (await agent.upload(spec, "too-large", b"x" * 100_001)).status == 413

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(50):
            yield b"x" * 10_000

    assert (await agent.upload(spec, "streamed", endless())).status == 413  # type: ignore[arg-type]
    (await agent.complete(spec)).expect(200)
    names = [a["name"] for a in (await admin.get(f"/api/steps/{spec['stepId']}/artifacts")).json]
    assert names == ["fits"]


@pytest.mark.parametrize("mode", ["999", "rwx", "-1", "", "7777777"])
async def test_a_mode_that_is_no_mode_is_refused(admin: Caller, mode: str) -> None:
    agent, spec = await running(admin)
    assert (await agent.upload(spec, "x", b"", query=f"&mode={mode}")).status == 400


@pytest.mark.parametrize(
    ("mode", "kept"), [("644", 0o644), ("0755", 0o755), ("4755", 0o755), ("44", 0o44), ("0", 0)]
)
async def test_a_mode_keeps_its_permission_bits(admin: Caller, mode: str, kept: int) -> None:
    agent, spec = await running(admin)
    (await agent.upload(spec, "x", b"", query=f"&mode={mode}")).expect(201)
    (await agent.complete(spec)).expect(200)
    [shown] = (await admin.get(f"/api/steps/{spec['stepId']}/artifacts")).json
    assert shown["mode"] == kept


async def test_an_upload_that_ends_after_its_attempt_changes_nothing(admin: Caller) -> None:
    agent, spec = await running(admin)
    (await agent.upload(spec, "x", b"right")).expect(201)
    started, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"wrong"
        started.set()
        await go_on.wait()
        yield b"!"

    upload = asyncio.create_task(agent.upload(spec, "x", slow()))  # type: ignore[arg-type]
    await started.wait()
    await asyncio.sleep(0.05)
    (await agent.complete(spec)).expect(200)
    go_on.set()
    assert is_stale(await upload)
    answer = await admin.get(f"/api/steps/{spec['stepId']}/artifacts/x")
    assert answer.body == b"right"


async def test_an_upload_that_breaks_off_leaves_nothing(admin: Caller) -> None:
    agent, spec = await running(admin)
    started = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield b"half"
        started.set()
        await asyncio.Event().wait()

    upload = asyncio.create_task(agent.upload(spec, "x", endless()))  # type: ignore[arg-type]
    await started.wait()
    upload.cancel()
    await asyncio.wait([upload])
    (await agent.complete(spec)).expect(200)
    assert (await admin.get(f"/api/steps/{spec['stepId']}/artifacts")).json == []


async def test_artifacts_of_an_earlier_attempt_are_not_shown(admin: Caller) -> None:
    agent, spec = await running(admin)
    (await agent.upload(spec, "old", b"x")).expect(201)
    (await agent.complete(spec, status="failed", exitCode=None, reason="lost")).expect(200)
    again = await agent.take()
    (await agent.upload(again, "new", b"x")).expect(201)
    (await agent.complete(again)).expect(200)
    names = [a["name"] for a in (await admin.get(f"/api/steps/{spec['stepId']}/artifacts")).json]
    assert names == ["new"]
