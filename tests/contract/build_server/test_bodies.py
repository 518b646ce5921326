"""The ways a request by specification 003 can be wrong."""

from __future__ import annotations

import io
import json

import pytest

from tests.contract.build_server.shapes import check, check_error
from tests.integration.coordinator_fixture import Caller, step_of

# The ways a body can be wrong


BODIES = [
    b"",
    b"{",
    b"[]",
    b'"text"',
    b"null",
    b"NaN",
    b'{"name": NaN}',
    b'{"accountId": "a", "name": "\xff"}',
    '{"accountId": "a", "name": "x"}'.encode("utf-16"),
    b'\xef\xbb\xbf{"accountId": "a", "name": "x"}',
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b'{"accountId": "a", "name": ' + b"9" * 10_000 + b"}",
    b"9" * 10_000,
    b'{"accountId": "a", "name": "\x00"}',
]


UNKNOWN_MEMBERS = [
    b'{"\\u0000": "a", "accountId": "a", "name": "x"}',
    b'{"\\ud800": "\\u0000", "accountId": "a", "name": "x"}',
    b'{"accountId": "a", "name": "x", "n": 1000000000000000000000}',
]


async def test_a_body_that_is_no_object_is_refused(admin: Caller) -> None:
    headers = {"Content-Type": "application/json"}
    for body in BODIES:
        answer = await admin.call("POST", "/api/projects", data=body, headers=headers)
        assert answer.status == 400, (body[:100], answer.text)
        check_error(answer.json)
    assert (await admin.get("/api/projects?accountId=a")).json == []


async def test_what_the_specification_does_not_know_is_not_looked_at(admin: Caller) -> None:
    """Its schemas allow further members, of any kind."""
    headers = {"Content-Type": "application/json"}
    for body in UNKNOWN_MEMBERS:
        answer = await admin.call("POST", "/api/projects", data=body, headers=headers)
        assert answer.status == 201, (body, answer.text)


async def test_the_error_of_an_odd_name_can_be_written(admin: Caller) -> None:
    """The path of a problem may be the very text that can't be stored."""
    for name, said in (("\ud800", "unicode"), ("\0", "no such field")):
        answer = (await admin.post("/api/tokens", {"name": "x", name: "y"})).expect(400)
        assert said in answer.json["details"][0]["message"]
        answer.body.decode()


async def test_a_huge_body_is_too_large(admin: Caller) -> None:
    body = json.dumps({"accountId": "a", "name": "x" * 9 * 1024 * 1024}).encode()
    answer = await admin.call("POST", "/api/projects", data=io.BytesIO(body))
    assert answer.status == 413
    check_error(answer.json)


async def test_a_workflow_that_is_as_large_as_a_body_may_be_is_answered_soon(
    admin: Caller,
) -> None:
    project = await admin.new_project()
    steps = [step_of(f"s{n}", runScript="echo " + "x" * 12_000) for n in range(600)]
    answer = await admin.post(
        f"/api/projects/{project['id']}/workflows", {"name": "ci", "steps": steps}
    )
    check_error(answer.expect(400).json)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/api/projects"),
        ("PUT", "/api/projects/{project}/builds"),
        ("PATCH", "/api/docker-images"),
        ("POST", "/api/audit-logs"),
        ("GET", "/api/runner/{project}/complete"),
        ("POST", "/api/runner/{project}"),
    ],
)
async def test_a_wrong_method_is_405_and_says_which_are_right(
    admin: Caller, method: str, path: str
) -> None:
    project = await admin.new_project()
    answer = (await admin.call(method, path.format(project=project["id"]))).expect(405)
    check_error(answer.json)
    assert answer.headers["Allow"]


@pytest.mark.parametrize(
    "path",
    [
        "/api/projects?accountId=%00",
        "/api/projects?accountId=%FF",
        "/api/projects?accountId=%ED%A0%80",
        "/api/projects?accountId=%zz",
        "/api/projects?accountId=" + "x" * 5000,
        "/api/audit-logs?projectId=%00&action=%FF",
        "/api/docker-images?public=%FF",
    ],
)
async def test_odd_bytes_in_a_query_find_nothing(admin: Caller, path: str) -> None:
    answer = await admin.get(path)
    assert answer.status in (200, 400), answer.text


async def test_a_query_that_holds_no_text_or_number_is_refused(admin: Caller) -> None:
    project = await admin.new_project()
    build = await admin.new_build(project)
    for path in (
        "/api/docker-images?public=%00",
        f"/api/projects/{project['id']}/builds/{build['id']}?wait=long",
    ):
        check_error((await admin.get(path)).expect(400).json)


# Retry


async def test_a_build_is_tried_again_as_a_new_build(admin: Caller) -> None:
    project = await admin.new_project()
    build = await admin.new_build(project, step_of("a"), step_of("b", "a"), branch="main")
    path = f"/api/projects/{project['id']}/builds/{build['id']}"
    check_error((await admin.post(f"{path}/retry")).expect(409).json)
    (await admin.post(f"{path}/cancel")).expect(200)
    check_error((await admin.post(f"{path}/cancel")).expect(409).json)
    again = (await admin.post(f"{path}/retry")).expect(201).json
    check("Build", again)
    assert (again["retryOf"], again["number"], again["branch"]) == (build["id"], 2, "main")
    shown = await admin.build(again["id"])
    names = [(step["name"], step["status"], step["dependsOn"]) for step in shown["steps"]]
    assert names == [("a", "READY", []), ("b", "BLOCKED", ["a"])]
