"""Builds by specification 003, and what is not there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.contract.build_server.shapes import check, check_error, paths_of
from tests.integration.coordinator_fixture import Caller, new_work_tree, step_of
from tests.integration.execution_fixture import logged_in, new_user

UNKNOWN = "00000000-0000-0000-0000-000000000000"


# Builds


async def test_a_build_is_created_and_listed(admin: Caller) -> None:
    project = await admin.new_project()
    workflow_id = await admin.new_workflow(project)
    path = f"/api/projects/{project['id']}/builds"
    body = {"workflowId": workflow_id, "branch": "main", "commitMessage": "m", "commitAuthor": "a"}
    made = (await admin.post(path, body)).expect(201)
    check("Build", made.json)
    assert made.json["status"] == "PENDING"
    assert {name: made.json[name] for name in body} == body
    assert not {"startedAt", "finishedAt", "commitHash", "repoUrl"} & set(made.json)
    assert made.json == await admin.build(made.json["id"])
    [step] = made.json["steps"]
    assert (await admin.get(f"/api/runner/{step['id']}")).expect(200).text.startswith("#!")
    listed = (await admin.get(path)).expect(200).json
    check("Build", listed["builds"][0])
    more = {"steps", "version", "status", "state", "startedAt"}
    build = {name: value for name, value in made.json.items() if name not in more}
    [shown] = listed["builds"]
    assert {name: value for name, value in shown.items() if name not in more} == build
    assert listed == {
        "builds": [shown],
        "pagination": {"total": 1, "limit": 20, "offset": 0, "hasMore": False},
    }


PAGES = [
    # query, limit, offset, numbers of the builds shown, hasMore
    ("", 20, 0, [3, 2, 1], False),
    ("?limit=2", 2, 0, [3, 2], True),
    ("?limit=2&offset=2", 2, 2, [1], False),
    ("?limit=1&offset=1", 1, 1, [2], True),
    ("?offset=3", 20, 3, [], False),
    ("?offset=-5", 20, 0, [3, 2, 1], False),
    ("?limit=0", 1, 0, [3], True),
    ("?limit=-7", 1, 0, [3], True),
    ("?limit=1000", 100, 0, [3, 2, 1], False),
    (f"?limit={2**70}&offset={2**70}", 100, 2**63 - 1, [], False),
    (f"?offset={2**63}", 20, 2**63 - 1, [], False),
    ("?limit=&offset=", 20, 0, [3, 2, 1], False),
    ("?limit=%2B2", 2, 0, [3, 2], True),
]


async def test_pages_are_clamped_newest_first(admin: Caller) -> None:
    project = await admin.new_project()
    workflow_id = await admin.new_workflow(project)
    path = f"/api/projects/{project['id']}/builds"
    for _ in range(3):
        (await admin.post(path, {"workflowId": workflow_id})).expect(201)
    for query, limit, offset, numbers, more in PAGES:
        listed = (await admin.get(path + query)).expect(200).json
        assert [build["number"] for build in listed["builds"]] == numbers, query
        shown = {"total": 3, "limit": limit, "offset": offset, "hasMore": more}
        assert listed["pagination"] == shown, query


@pytest.mark.parametrize(
    "query", ["limit=x", "limit=1.5", "offset=1e3", "offset=%D9%A3", "limit=0x10"]
)
async def test_a_page_that_is_no_number_is_refused(admin: Caller, query: str) -> None:
    project = await admin.new_project()
    for path in (f"/api/projects/{project['id']}/builds", "/api/audit-logs"):
        check_error((await admin.get(f"{path}?{query}")).expect(400).json)


@pytest.mark.parametrize(
    ("body", "paths"),
    [
        ({}, {"workflowId"}),
        ({"workflowId": ""}, {"workflowId"}),
        ({"workflowId": 5}, {"workflowId"}),
        ({"workflowId": "WORKFLOW", "branch": 5}, {"branch"}),
        ({"workflowId": "WORKFLOW", "branch": "a\0"}, {"branch"}),
        ({"workflowId": "WORKFLOW", "commitMessage": "\ud800"}, {"commitMessage"}),
        ({"workflowId": "WORKFLOW", "commitAuthor": "\0", "branch": "\0"}, None),
    ],
)
async def test_a_bad_build_is_refused_with_each_field(
    admin: Caller, body: Mapping[str, Any], paths: set[str] | None
) -> None:
    project = await admin.new_project()
    workflow_id = await admin.new_workflow(project)
    if body.get("workflowId") == "WORKFLOW":
        body = {**body, "workflowId": workflow_id}
    answer = (await admin.post(f"/api/projects/{project['id']}/builds", body)).expect(400)
    check_error(answer.json)
    assert paths_of(answer.json) == (paths or {"commitAuthor", "branch"})


@pytest.mark.parametrize(
    ("origin", "reason"),
    [
        ({"commitHash": "0" * 40}, f"the repository has no commit '{'0' * 40}'"),
        ({"commitHash": "--help"}, "the repository has no commit '--help'"),
    ],
)
async def test_a_build_of_what_is_not_the_projects_fails_and_says_so(
    admin: Caller, origin: Mapping[str, Any], reason: str
) -> None:
    project = await admin.new_project()
    path = f"/api/projects/{project['id']}/builds"
    body = {"workflowId": await admin.new_workflow(project), **origin}
    made = (await admin.post(path, body)).expect(201).json
    check("Build", made)
    assert made["status"] == "FAILED"
    assert made["reason"].startswith(reason)
    assert (await admin.get(f"{path}/{made['id']}")).json["steps"] == []
    (await admin.post(f"{path}/{made['id']}/retry", {})).expect(409)


async def test_a_named_branch_is_built_at_its_tip_whatever_the_workflow_is_from(
    admin: Caller, tmp_path: Path
) -> None:
    project = await admin.new_project()
    body = {"workflowId": await admin.new_workflow(project)}
    path = f"/api/projects/{project['id']}/builds"
    early = (await admin.post(path, {**body, "branch": "main"})).expect(201).json
    assert (early["status"], "commitHash" in early) == ("PENDING", False), "nothing is there yet"
    tree = await new_work_tree(tmp_path, admin, project)
    sha = await tree.commit({"a": "1"})
    await tree.push()
    made = (await admin.post(path, {**body, "branch": "main"})).expect(201).json
    assert (made["commitHash"], made["branch"]) == (sha, "main")
    missing = (await admin.post(path, {**body, "branch": "nope"})).expect(201).json
    assert (missing["status"], missing["branch"]) == ("FAILED", "nope")
    assert missing["reason"] == "the repository has no branch 'nope': push it first"
    for nothing in ({}, {"branch": ""}, {"branch": None}):
        bare = (await admin.post(path, {**body, **nothing})).expect(201).json
        assert (bare["status"], "commitHash" in bare, "branch" in bare) == ("PENDING", False, False)


async def test_null_is_as_good_as_absent_for_what_is_optional(admin: Caller) -> None:
    project = await admin.new_project()
    workflow_id = await admin.new_workflow(project)
    body = {"workflowId": workflow_id, "branch": None, "commitHash": None, "repoUrl": None}
    made = (await admin.post(f"/api/projects/{project['id']}/builds", body)).expect(201)
    check("Build", made.json)


async def test_a_user_of_several_accounts_is_in_the_one_that_the_request_means(
    admin: Caller,
) -> None:
    here = await admin.new_project(name="here")
    there = await admin.new_project(account="other", name="there")
    theirs = await admin.new_project(account="third", name="theirs")
    await new_user(admin, "two@a.example", default="developer", other="developer")
    user = await logged_in(admin.coordinator, "two@a.example")
    for key in (there["accountUuid"], "other"):
        listed = (await user.get(f"/api/projects?accountId={key}")).expect(200).json
        assert [one["name"] for one in listed] == ["there"]
    for project in (here, there):
        shown = (await user.get(f"/api/projects/{project['id']}")).expect(200).json
        assert shown["name"] == project["name"]
        build = await admin.new_build(project, step_of("a"))
        for path in (f"projects/{project['id']}/builds", "projects/-/builds"):
            (await user.get(f"/api/{path}/{build['id']}")).expect(200)
        (await user.get(f"/api/steps/{build['steps'][0]['id']}/artifacts")).expect(200)
    (await user.get(f"/api/projects/{theirs['id']}")).expect(404)
    (await user.get(f"/api/projects?accountId={theirs['accountUuid']}")).expect(400)
    elsewhere = {"X-Tenant-ID": here["accountUuid"]}
    there_path = f"/api/projects/{there['id']}"
    (await user.call("GET", there_path, headers=elsewhere)).expect(404)


# What isn't there


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/projects/{}/workflows"),
        ("POST", "/api/projects/{}/workflows"),
        ("GET", "/api/projects/{}/builds"),
        ("POST", "/api/projects/{}/builds"),
        ("GET", "/api/projects/{}"),
        ("GET", "/api/runner/{}"),
        ("POST", "/api/runner/{}/complete"),
        ("GET", "/api/projects/-/builds/{}"),
        ("POST", "/api/projects/-/builds/{}/cancel"),
        ("POST", "/api/projects/-/builds/{}/retry"),
        ("GET", "/api/nothing/{}"),
    ],
)
async def test_what_is_not_there_is_404(admin: Caller, method: str, path: str) -> None:
    body: dict[str, Any] = {"workflowId": "x", "status": "success"}
    if not path.endswith(("cancel", "retry")):
        body |= {"name": "x", "steps": [step_of("a")]}
    options = {"json": body} if method == "POST" else {}
    for id_ in (UNKNOWN, "nope", "%00", "%FF", "..%2F..%2Fx", "x" * 3000):
        answer = await admin.call(method, path.format(id_), **options)
        assert answer.status == 404, (id_, answer.text)
        check_error(answer.json)


async def test_a_workflow_of_another_project_is_not_found(admin: Caller) -> None:
    one, two = await admin.new_project(), await admin.new_project()
    workflow_id = await admin.new_workflow(one)
    answer = await admin.post(f"/api/projects/{two['id']}/builds", {"workflowId": workflow_id})
    check_error(answer.expect(404).json)


async def test_a_build_is_not_found_below_another_project(admin: Caller) -> None:
    one, two = await admin.new_project(), await admin.new_project()
    build = await admin.new_build(one)
    for suffix, method in [("", "GET"), ("/cancel", "POST"), ("/retry", "POST")]:
        path = f"/api/projects/{two['id']}/builds/{build['id']}{suffix}"
        assert (await admin.call(method, path)).status == 404
