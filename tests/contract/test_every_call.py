"""What holds for every call of every interface; the OpenAPI document lists them."""

from __future__ import annotations

import io
import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conformance import openapi
from tests.empty_database import change
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


def broken_bodies(path: str, method: str) -> list[bytes]:
    """None at all is no mistake where the document says that it may be left out."""
    body = DOCUMENT["paths"][path][method.lower()]["requestBody"]
    return BROKEN if body["required"] else [one for one in BROKEN if one]


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
async def admin(each_storage: str, tmp_path: Path) -> AsyncIterator[Caller]:
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
        for body in broken_bodies(path, method):
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


@pytest.mark.usefixtures("each_storage")
async def test_a_body_that_does_not_come_is_given_up_everywhere(tmp_path: Path) -> None:
    async with open_coordinator(tmp_path) as coordinator:
        admin = coordinator.admin
        agent = await (await admin.new_token(kind="registration")).new_agent()
        (await admin.post("/api/projects", {"accountId": SAMPLE, "name": "x"})).expect(201)
        coordinator.settings = {**coordinator.settings, "body_seconds": 0.05}
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


async def test_null_means_the_same_as_nothing_where_a_member_may_be_left_out(admin: Caller) -> None:
    tried = 0
    for method, path in with_json():
        without = problems(await send(admin, method, path, b"{}"))
        for name in optional_members(method, path):
            body = json.dumps({name: None}).encode()
            assert problems(await send(admin, method, path, body)) == without, (method, path, name)
            tried += 1
    assert tried > 40


def problems(answer: Answer) -> tuple[int, object]:
    return answer.status, answer.json.get("details") if answer.status == 400 else None


def optional_members(method: str, path: str) -> list[str]:
    body = DOCUMENT["paths"][path][method.lower()]["requestBody"]["content"]["application/json"]
    model = DOCUMENT["components"]["schemas"].get(body["schema"].get("$ref", "").rpartition("/")[2])
    model = model or body["schema"]
    return [name for name in model.get("properties", {}) if name not in model.get("required", [])]


def test_every_optional_member_of_a_body_is_declared_as_nullable() -> None:
    for name, model in DOCUMENT["components"]["schemas"].items():
        if name.endswith("-Output") or name not in models_of_bodies():
            continue
        for member, schema in model.get("properties", {}).items():
            if member not in model.get("required", []):
                assert {"type": "null"} in schema.get("anyOf", []), (name, member)


def models_of_bodies() -> set[str]:
    """Those of requests, without the models within them: of these each member is needed."""
    bodies = [operation.get("requestBody", {}) for _, _, operation in calls()]
    return {name for body in bodies for name in re.findall(r"schemas/([\w-]+)", json.dumps(body))}


async def test_a_member_that_stands_twice_is_refused_everywhere(admin: Caller) -> None:
    agent = await (await admin.new_token(kind="registration")).new_agent()
    for method, path in with_json():
        for body in (b'{"name": 1, "name": 1}', b'{"a": [{"name": 1, "b": 2, "name": 3}]}'):
            answer = await send(agent if of_agents(path) else admin, method, path, body)
            assert answer.status == 400, (method, path, answer.text[:300])
            assert "twice" in answer.text
            assert "name" in answer.text
            check_shape(path, answer)


async def test_a_parameter_that_stands_twice_is_refused_everywhere(admin: Caller) -> None:
    tried = 0
    for method, path, operation in calls():
        for parameter in operation["parameters"]:
            if parameter["in"] != "query" or "webhooks" in path:
                continue
            query = f"{parameter['name']}=1&{parameter['name']}=1"
            answer = await admin.call(method, f"{filled(path)}?{query}", headers=TENANT)
            assert answer.status == 400, (method, path, query, answer.text[:300])
            check_shape(path, answer)
            told = json.dumps(answer.json.get("details", []))
            assert parameter["name"] in told, (method, path, answer.text)
            assert "twice" in told
            tried += 1
    assert tried > 30
    (await admin.get("/api/projects?accountId=a&accountId=b")).expect(400)
    (await admin.get(f"/api/projects?accountId={SAMPLE}&other=1&other=2")).expect(200)


async def test_ids_are_taken_in_any_case(admin: Caller) -> None:
    project = await admin.new_project()
    build = await admin.new_build(project)
    upper, step = {name: project[name].upper() for name in ("id", "accountUuid")}, build["steps"][0]
    builds = f"/api/projects/{upper['id']}/builds"
    workflow = {"workflowId": build["workflowId"].upper()}
    made = (await admin.post(builds, workflow)).expect(201).json
    assert made["workflowId"] == build["workflowId"]
    assert made["projectId"] == project["id"]
    shown = (await admin.get(f"{builds}/{build['id'].upper()}")).expect(200).json
    assert shown["id"] == build["id"]
    logs = (await admin.get(f"/api/audit-logs?projectId={upper['id']}")).expect(200).json
    assert logs["pagination"]["total"] > 0
    listed = (await admin.get(f"/api/projects?accountId={upper['accountUuid']}")).expect(200).json
    assert [one["id"] for one in listed] == [project["id"]]
    (await admin.get(f"/api/runner/{step['id'].upper()}")).expect(200)
    (await admin.get(f"/api/steps/{step['id'].upper()}/log")).expect(200)
    image = await admin.post("/api/builds", {"name": "a", "files": {"Dockerfile": "FROM x"}})
    image_build_id = image.expect(202).json["id"]
    upper_id = image_build_id.upper()
    assert upper_id != image_build_id
    (await admin.get(f"/api/builds/{upper_id}")).expect(200)
    (await admin.get(f"/api/builds/{image_build_id.replace('build-', 'build-'.upper())}")).expect(
        200
    )
    v1 = await admin.call(
        "GET",
        f"/api/v1/builds/{build['id'].upper()}?",
        headers={"X-Tenant-ID": upper["accountUuid"]},
    )
    assert v1.expect(200).json["project_id"] == project["id"]


async def test_a_fault_of_ours_is_a_500_everywhere_and_says_where_to_look(admin: Caller) -> None:
    for method, path, operation in calls():
        assert "500" in operation["responses"], (method, path)
    stranger = await admin.new_token(role="developer", account=SAMPLE)
    login = json.dumps({"email": "ada@example.org", "password": "x"}).encode()
    with tables_gone(admin.coordinator.data, "tokens", "users"):
        for method, path, operation in calls():
            if operation.get("security") == [] and not path.endswith("/login"):
                continue
            answer = await send(stranger, method, path, login)
            answer.expect(500)
            assert "log" in answer.json["error"]
            check_shape(path, answer)


@contextmanager
def tables_gone(data: Path, *names: str) -> Iterator[None]:
    change(data, *(f"ALTER TABLE {name} RENAME TO gone_{name}" for name in names))
    try:
        yield
    finally:
        change(data, *(f"ALTER TABLE gone_{name} RENAME TO {name}" for name in names))


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


@pytest.mark.usefixtures("each_storage")
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
