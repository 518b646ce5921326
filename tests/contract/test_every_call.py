"""What holds for every call of every interface; the OpenAPI document lists them."""

from __future__ import annotations

import io
import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conformance import openapi
from tests.integration.coordinator_fixture import Answer, Caller, open_coordinator

SAMPLE = "11111111-1111-4111-8111-111111111111"
TENANT = {"X-Tenant-ID": SAMPLE}
METHODS = {"get", "post", "put", "patch", "delete"}
JSON = {"Content-Type": "application/json"}
HUGE = b'{"name": "' + b"x" * 9 * 1024 * 1024 + b'"}'
BROKEN = [
    b"",
    b"{",
    b"null",
    b"[]",
    b'{"name": "\xff"}',
    b"[" * 50_000,
    b'{"a":' * 10_000,  # below the 64 KiB that a stranger's body may have
    b"9" * 5_000,
    b'{"name": NaN}',
]
DOCUMENT = openapi()


def calls() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def with_json() -> list[tuple[str, str]]:
    """Those whose body is ours to read as JSON; webhooks are read by what signed them."""
    return [
        (method, path)
        for method, path, operation in calls()
        if "application/json" in operation.get("requestBody", {}).get("content", {})
        and "webhooks" not in path
    ]


def of_agents(path: str) -> bool:
    return path in ("/api/agents/poll", "/api/agents/renew", "/api/agents/goodbye")


def filled(path: str) -> str:
    return re.sub(r"\{\w+\}", SAMPLE, path)


def check_shape(path: str, answer: Answer) -> None:
    """The error is told in the shape of the path's own document."""
    body = answer.json
    assert isinstance(body["error"], str)
    assert body["error"]
    if path.startswith("/api/v1"):
        assert {"error", "code", "timestamp", "trace_id"} <= set(body)
        assert isinstance(body.get("details", {}), dict)
    else:
        assert isinstance(body.get("details", []), list)


@pytest.fixture
async def admin(tmp_path: Path) -> AsyncIterator[Caller]:
    async with open_coordinator(tmp_path, poll_hold_seconds=1) as coordinator:
        project = {"accountId": SAMPLE, "name": "x"}
        (await coordinator.admin.post("/api/projects", project)).expect(201)
        yield coordinator.admin


async def send(caller: Caller, method: str, path: str, body: bytes) -> Answer:
    """Chunked, so that no Content-Length gives a huge body away."""
    return await caller.call(
        method, filled(path), data=io.BytesIO(body), headers={**JSON, **TENANT}
    )


def test_there_are_calls_of_every_document() -> None:
    paths = set(DOCUMENT["paths"])
    assert {"/api/projects", "/api/v1/builds", "/api/build_synthesis/trigger"} <= paths
    assert len(with_json()) > 15


async def test_a_huge_body_is_too_large_everywhere(admin: Caller) -> None:
    agent = await (await admin.new_token(kind="registration")).new_agent()
    for method, path in with_json():
        answer = await send(agent if of_agents(path) else admin, method, path, HUGE)
        assert answer.status == 413, (method, path, answer.text[:300])
        check_shape(path, answer)


async def test_a_broken_body_is_refused_everywhere(admin: Caller) -> None:
    agent = await (await admin.new_token(kind="registration")).new_agent()
    for method, path in with_json():
        for body in BROKEN:
            answer = await send(agent if of_agents(path) else admin, method, path, body)
            assert answer.status == 400, (method, path, body[:20], answer.text[:300])
            check_shape(path, answer)


async def test_a_body_that_is_not_encoded_as_it_says_is_refused_everywhere(
    admin: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    agent = await (await admin.new_token(kind="registration")).new_agent()
    lies = {**JSON, **TENANT, "Content-Encoding": "gzip"}
    for method, path in with_json():
        caller = agent if of_agents(path) else admin
        answer = await caller.call(method, filled(path), data=io.BytesIO(b"{}"), headers=lies)
        assert answer.status == 400, (method, path, answer.text[:300])
        assert "encoded" in answer.text
        check_shape(path, answer)
    assert not [record for record in caplog.records if record.exc_info]


async def test_a_body_that_does_not_come_is_given_up_everywhere(tmp_path: Path) -> None:
    async with open_coordinator(tmp_path) as coordinator:
        admin = coordinator.admin
        agent = await (await admin.new_token(kind="registration")).new_agent()
        (await admin.post("/api/projects", {"accountId": SAMPLE, "name": "x"})).expect(201)
        coordinator.settings = {"body_seconds": 0.05}
        await coordinator.restart()
        for method, path in with_json():
            token = (agent if of_agents(path) else admin).token
            head = (
                f"{method} {filled(path)} HTTP/1.1\r\nHost: localhost\r\n"
                f"X-Tenant-ID: {SAMPLE}\r\nAuthorization: Bearer {token}\r\n"
                "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
            )
            answer = await coordinator.exchange(head.encode())
            assert b" 408 " in answer.splitlines()[0], (method, path, answer[:300])
            assert b"Connection: close" in answer
            body = answer.partition(b"\r\n\r\n")[2]
            check_shape(path, Answer(status=408, headers={}, body=body))


async def test_a_method_that_there_is_not_is_told_with_those_there_are(admin: Caller) -> None:
    for path, methods in DOCUMENT["paths"].items():
        for method in METHODS - set(methods):
            answer = await admin.call(method.upper(), filled(path), headers=TENANT)
            allowed = {word.strip() for word in answer.headers.get("Allow", "").split(",")}
            if answer.status != 405:
                # Another route may have this path too, such as one with a name in an id's place.
                assert answer.status in (200, 201, 204, 400, 403, 404, 409), (method, path)
                continue
            assert {name.upper() for name in methods} <= allowed, (method, path)
            check_shape(path, answer)


async def test_nobody_gets_in_without_a_token(admin: Caller) -> None:
    nobody = admin.coordinator.nobody
    for method, path, operation in calls():
        if operation.get("security") == []:
            continue
        answer = await nobody.call(method, filled(path), headers={**JSON, **TENANT}, data=b"{}")
        assert answer.status == 401, (method, path, answer.text[:300])
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        check_shape(path, answer)


async def test_too_many_requests_are_told_everywhere_below_v1(tmp_path: Path) -> None:
    async with open_coordinator(tmp_path, rate_limit=1) as coordinator:
        for method, path, _ in calls():
            if not path.startswith("/api/v1/") or path.endswith("/auth/login"):
                continue
            token = await coordinator.admin.new_token(role="developer", account="acme")
            for _ in range(2):
                answer = await token.call(method, filled(path), headers=TENANT)
            assert answer.status == 429, (method, path, answer.text[:300])
            assert int(answer.headers["Retry-After"]) > 0
            check_shape(path, answer)


async def test_what_is_not_known_is_told_by_name(admin: Caller) -> None:
    """Where a document doesn't allow further members; specification 003 does."""
    refused = 0
    for method, path in with_json():
        schema = DOCUMENT["paths"][path][method.lower()]["requestBody"]["content"]
        name = schema["application/json"]["schema"].get("$ref", "").rpartition("/")[2]
        if DOCUMENT["components"]["schemas"].get(name, {}).get("additionalProperties") is not False:
            continue
        answer = await send(admin, method, path, json.dumps({"nonsense": 1}).encode())
        assert answer.status == 400, (method, path, answer.text[:300])
        assert "nonsense" in answer.text
        refused += 1
    assert refused > 5
