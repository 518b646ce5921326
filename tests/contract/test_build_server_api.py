"""The Build Server API (specification 003), as a table of our own, over real HTTP."""

from __future__ import annotations

import io
import json
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.integration.coordinator_fixture import Caller, new_work_tree, open_coordinator, step_of
from tests.integration.execution_fixture import logged_in, new_user

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
UNKNOWN = "00000000-0000-0000-0000-000000000000"
TABLE: Mapping[str, Mapping[str, type]] = {
    "Project": {"id": str, "accountId": str, "name": str, "createdAt": str, "updatedAt": str},
    "Workflow": {"id": str, "projectId": str, "name": str, "createdAt": str, "updatedAt": str},
    "Build": {
        "id": str,
        "projectId": str,
        "workflowId": str,
        "status": str,
        "createdAt": str,
    },
    "DockerImage": {"id": str, "slug": str, "imageUrl": str, "public": bool, "createdAt": str},
    "AuditLog": {"id": str, "action": str, "details": dict, "createdAt": str},
}
STATUS_WORDS = {"PENDING", "RUNNING", "SUCCESS", "FAILED"}


def check(kind: str, shown: Mapping[str, Any]) -> None:
    """The object has what the specification lists, camelCase, nothing null."""
    for name, type_ in TABLE[kind].items():
        assert type(shown[name]) is type_, (kind, name, shown)
    for name, value in shown.items():
        assert re.fullmatch("[a-z]+([A-Z][a-z]*)*", name), name
        assert value is not None, f"{name} is null: an absent value is left out"
        if name.endswith("At"):
            assert TIME.fullmatch(value), (name, value)
    assert UUID.fullmatch(shown["id"])
    if kind == "Build":
        assert shown["status"] in STATUS_WORDS


def check_error(body: Mapping[str, Any]) -> None:
    assert isinstance(body["error"], str)
    assert body["error"]
    for detail in body.get("details", []):
        assert isinstance(detail, dict)
        assert detail["message"]


@pytest.fixture
async def admin(tmp_path: Path) -> AsyncIterator[Caller]:
    async with open_coordinator(tmp_path) as coordinator:
        yield coordinator.admin


def paths_of(body: Mapping[str, Any]) -> set[str]:
    return {detail["path"] for detail in body["details"]}


# Projects


async def test_a_project_is_created_and_listed(admin: Caller) -> None:
    made = (await admin.post("/api/projects", {"accountId": "acme", "name": "Shop"})).expect(201)
    check("Project", made.json)
    assert made.json["name"] == "Shop"
    listed = (await admin.get("/api/projects?accountId=acme")).expect(200).json
    check("Project", listed[0])
    assert [project["id"] for project in listed] == [made.json["id"]]
    by_id = await admin.get(f"/api/projects?accountId={made.json['accountId']}")
    assert by_id.expect(200).json == listed
    assert made.headers["Content-Type"].startswith("application/json")


async def test_an_accounts_own_uuid_is_kept(admin: Caller) -> None:
    """Who names a new account by a UUID gets that UUID back."""
    account = "3f0c1a52-8c5d-4a5e-9b57-0a1b2c3d4e5f"
    made = (await admin.post("/api/projects", {"accountId": account, "name": "x"})).expect(201)
    assert made.json["accountId"] == account


@pytest.mark.parametrize(
    "ids",
    [
        ("acct-specs", "acct_specs"),
        ("team@one.example", "team-one-example"),
        ("ünï", "uni", "Uni"),
        ("google-oauth2|123", "google-oauth2-123"),
        ("ACME Inc.", "acme-inc"),
        ("x" * 1000, "x" * 999),
    ],
)
async def test_an_accounts_id_comes_back_as_it_was_sent_and_another_is_another_account(
    admin: Caller, ids: tuple[str, ...]
) -> None:
    made = {}
    for account in ids:
        made[account] = await admin.new_project(account=account)
        assert made[account]["accountId"] == account
        by_id = (await admin.get(f"/api/projects/{made[account]['id']}")).expect(200).json
        assert by_id["accountId"] == account
    assert len({one["accountUuid"] for one in made.values()}) == len(ids)
    for account in ids:
        for key in (account, made[account]["accountUuid"].upper(), made[account]["account"]):
            query = f"/api/projects?accountId={quote(key, safe='')}"
            [listed] = (await admin.get(query)).expect(200).json
            assert (listed["id"], listed["accountId"]) == (made[account]["id"], key)


async def test_only_an_administrator_makes_an_account_of_an_unknown_id(admin: Caller) -> None:
    project = await admin.new_project(account="ours")
    maintainer = await admin.new_token(role="maintainer", account="ours")
    (await maintainer.post("/api/projects", {"accountId": "new", "name": "x"})).expect(404)
    assert (await maintainer.new_project(account="ours"))["account"] == project["account"]


async def test_an_account_without_projects_has_an_empty_list(admin: Caller) -> None:
    for account in ("nobody", ""):
        listed = await admin.get(f"/api/projects?accountId={account}")
        assert listed.expect(200).json == []


@pytest.mark.parametrize("query", ["", "?account=acme"])
async def test_the_list_of_projects_needs_an_account(admin: Caller, query: str) -> None:
    answer = (await admin.get(f"/api/projects{query}")).expect(400)
    check_error(answer.json)


@pytest.mark.parametrize(
    ("body", "paths"),
    [
        ({}, {"accountId", "name"}),
        ({"accountId": "a"}, {"name"}),
        ({"name": "x"}, {"accountId"}),
        ({"accountId": "", "name": ""}, {"accountId", "name"}),
        ({"accountId": "a", "name": "x" * 101}, {"name"}),
        ({"accountId": 5, "name": ["x"]}, {"accountId", "name"}),
        ({"accountId": None, "name": None}, {"accountId", "name"}),
        ({"accountId": "a", "name": "nul \0"}, {"name"}),
        ({"accountId": "a\ud800", "name": "\udfff"}, {"accountId", "name"}),
    ],
)
async def test_a_bad_project_is_refused_with_each_field(
    admin: Caller, body: Mapping[str, Any], paths: set[str]
) -> None:
    answer = (await admin.post("/api/projects", body)).expect(400)
    check_error(answer.json)
    assert paths_of(answer.json) == paths


@pytest.mark.parametrize("name", ["x", "x" * 100, "../x", "Ünïcode 日本", " ", "a/b\\c", "\u202e"])
async def test_any_text_up_to_100_characters_is_a_name(admin: Caller, name: str) -> None:
    for _ in range(2):  # also repeated
        made = await admin.post("/api/projects", {"accountId": "a", "name": name})
        assert made.expect(201).json["name"] == name
    listed = (await admin.get("/api/projects?accountId=a")).json
    assert len({project["slug"] for project in listed}) == 2
    assert all(re.fullmatch("[a-z0-9-]+", project["slug"]) for project in listed)


# Workflows


async def test_a_workflow_is_created_and_listed(admin: Caller) -> None:
    project = await admin.new_project()
    path = f"/api/projects/{project['id']}/workflows"
    steps = [step_of("a"), step_of("b", "a", cacheDirs=["/c"], outputPaths=["dist/"])]
    made = (await admin.post(path, {"name": "ci", "steps": steps})).expect(201)
    check("Workflow", made.json)
    assert (made.json["name"], made.json["projectId"]) == ("ci", project["id"])
    assert (await admin.get(path)).expect(200).json == [made.json]


@pytest.mark.parametrize(
    "missing", ["name", "imageSlug", "dependsOn", "runScript", "cacheDirs", "outputPaths"]
)
async def test_each_field_of_a_step_is_required(admin: Caller, missing: str) -> None:
    project = await admin.new_project()
    step = step_of("a")
    del step[missing]
    body = {"name": "ci", "steps": [step_of("first"), step]}
    answer = await admin.post(f"/api/projects/{project['id']}/workflows", body)
    check_error(answer.expect(400).json)
    assert paths_of(answer.json) == {f"steps[1].{missing}"}


@pytest.mark.parametrize(
    ("field", "value", "path"),
    [
        ("name", "", "steps[0].name"),
        ("name", "x" * 101, "steps[0].name"),
        ("imageSlug", "", "steps[0].imageSlug"),
        ("runScript", "", "steps[0].runScript"),
        ("runScript", "a\0b", "steps[0].runScript"),
        ("runScript", "a\ud800b", "steps[0].runScript"),
        ("dependsOn", "a", "steps[0].dependsOn"),
        ("dependsOn", [1], "steps[0].dependsOn[0]"),
        ("dependsOn", None, "steps[0].dependsOn"),
        ("dependsOn", ["nobody"], "steps[0].dependsOn[0]"),
        ("dependsOn", ["a"], None),
        ("cacheDirs", ["../x"], "steps[0].cacheDirs[0]"),
        ("cacheDirs", {}, "steps[0].cacheDirs"),
        ("outputPaths", ["../x"], "steps[0].outputPaths[0]"),
        ("outputPaths", ["/etc/passwd"], "steps[0].outputPaths[0]"),
    ],
)
async def test_a_bad_step_is_refused_and_named(
    admin: Caller, field: str, value: object, path: str | None
) -> None:
    project = await admin.new_project()
    body = {"name": "ci", "steps": [{**step_of("a"), field: value}]}
    answer = await admin.post(f"/api/projects/{project['id']}/workflows", body)
    check_error(answer.expect(400).json)
    assert path is None or path in paths_of(answer.json)


@pytest.mark.parametrize(
    "body",
    [
        {"name": "ci"},
        {"steps": []},
        {"name": "", "steps": [step_of("a")]},
        {"name": "x" * 101, "steps": [step_of("a")]},
        {"name": "ci", "steps": {}},
        {"name": "ci", "steps": ["a"]},
        {"name": "ci", "steps": [step_of("a"), step_of("a")]},
        {"name": "ci", "steps": [step_of("a", "b"), step_of("b", "a")]},
    ],
)
async def test_a_bad_workflow_is_refused(admin: Caller, body: Mapping[str, Any]) -> None:
    project = await admin.new_project()
    answer = await admin.post(f"/api/projects/{project['id']}/workflows", body)
    check_error(answer.expect(400).json)
    assert answer.json["details"]
    assert (await admin.get(f"/api/projects/{project['id']}/workflows")).json == []


IGNORED = "X-Pushrod-Ignored"


async def test_fields_that_nobody_knows_are_ignored_and_the_answer_says_so(admin: Caller) -> None:
    project = await admin.new_project()
    body = {"name": "ci", "colour": "red", "steps": [step_of("a", colour="red", grace=None)]}
    path = f"/api/projects/{project['id']}"
    made = (await admin.post(f"{path}/workflows", body)).expect(201)
    assert made.headers[IGNORED] == "colour, steps[0].colour"
    build = {"workflowId": made.json["id"], "colour": 1}
    (await admin.post(f"{path}/builds", build)).expect(201)
    image = {"slug": "base", "imageUrl": "docker://debian", "colour": None}
    answer = (await admin.post("/api/docker-images", image)).expect(201)
    assert IGNORED not in answer.headers  # null is as good as absent


async def test_a_slip_is_refused_where_it_would_change_what_is_meant(admin: Caller) -> None:
    project = await admin.new_project()
    path = f"/api/projects/{project['id']}"
    made = await admin.post(f"{path}/builds", {"workflowId": "ci", "cleanBuidl": True})
    [problem] = made.expect(400).json["details"]
    assert problem["message"] == "there is no such field: did you mean 'cleanBuild'?"
    for wrong in ({"timeout": {"not": "ours"}}, {"runON": ["failure"]}, {"needs": ["b"]}):
        body = {"name": "ci", "steps": [step_of("a", **wrong)]}
        answer = (await admin.post(f"{path}/workflows", body)).expect(400)
        assert answer.json["details"][0]["path"].startswith("steps[0].")
    body = {"name": "ci", "on": {"push": {}}, "steps": [step_of("a")]}
    answer = (await admin.post(f"{path}/workflows", body)).expect(400)
    assert "only a workflow in a file of the repository has on" in answer.text


async def test_a_step_may_have_what_the_language_knows(admin: Caller) -> None:
    project = await admin.new_project()
    after = step_of("b", dependsOn=["a"], runOn=["failure"], timeout="90s", env={"A": "1"})
    await admin.new_build(project, step_of("a", retries=0), after)
    agent = await admin.new_agent()
    (await agent.complete(await agent.take(), status="failed", exitCode=1)).expect(200)
    spec = await agent.take()
    assert (spec["name"], spec["timeoutSeconds"], spec["env"]["A"]) == ("b", 90, "1")


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


# Docker images


async def test_an_image_is_created_and_listed(admin: Caller) -> None:
    body = {"slug": "python-312", "imageUrl": "docker://registry.example/python:3.12"}
    made = (await admin.post("/api/docker-images", body)).expect(201)
    check("DockerImage", made.json)
    assert {name: made.json[name] for name in body} == body
    assert made.json["public"] is False
    open_ = {**body, "slug": "open", "public": True}
    (await admin.post("/api/docker-images", open_)).expect(201)

    async def listed(query: str) -> list[str]:
        answer = await admin.get(f"/api/docker-images{query}")
        return [image["slug"] for image in answer.expect(200).json]

    assert await listed("") == ["open", "python-312"]
    assert await listed("?public=true") == ["open"]
    assert await listed("?public=false") == ["open", "python-312"], "it is no filter then"
    assert await listed("?public=True") == ["open"]
    for text in ("1", "yes", "banana", ""):
        answer = (await admin.get(f"/api/docker-images?public={text}")).expect(400)
        assert paths_of(answer.json) == {"public"}


async def test_a_taken_slug_is_a_conflict(admin: Caller) -> None:
    body = {"slug": "base", "imageUrl": "docker://debian:12"}
    (await admin.post("/api/docker-images", body)).expect(201)
    check_error((await admin.post("/api/docker-images", body)).expect(409).json)


@pytest.mark.parametrize(
    ("body", "paths"),
    [
        ({}, {"slug", "imageUrl"}),
        ({"slug": "", "imageUrl": ""}, {"slug", "imageUrl"}),
        ({"slug": "x" * 51, "imageUrl": "docker://x"}, {"slug"}),
        ({"slug": "x", "imageUrl": "two words"}, {"imageUrl"}),
        ({"slug": "x", "imageUrl": "-rm"}, {"imageUrl"}),
        ({"slug": "x", "imageUrl": "https://r.example:5000"}, {"imageUrl"}),
        ({"slug": "x", "imageUrl": "r.example/Upper"}, {"imageUrl"}),
        ({"slug": "x", "imageUrl": "ftp://r.example/x"}, {"imageUrl"}),
        ({"slug": "Deb 12", "imageUrl": "docker://x"}, {"slug"}),
        ({"slug": "-x", "imageUrl": "docker://x"}, {"slug"}),
        ({"slug": "${{x}}", "imageUrl": "docker://x"}, {"slug"}),
        ({"slug": "a\tb", "imageUrl": "docker://x"}, {"slug"}),
        ({"slug": "x", "imageUrl": "docker://x\n"}, {"imageUrl"}),
        ({"slug": "x", "imageUrl": "docker://x", "public": "yes"}, {"public"}),
        ({"slug": "x", "imageUrl": "docker://x", "public": 1}, {"public"}),
        ({"slug": "x\0", "imageUrl": "docker://x"}, {"slug"}),
    ],
)
async def test_a_bad_image_is_refused_with_each_field(
    admin: Caller, body: Mapping[str, Any], paths: set[str]
) -> None:
    answer = (await admin.post("/api/docker-images", body)).expect(400)
    check_error(answer.json)
    assert paths_of(answer.json) == paths


@pytest.mark.parametrize(
    "url", ["debian", "debian:12", "docker://r.example:5000/a/b:c", "oci-layout:///srv/images/x"]
)
async def test_an_image_is_a_uri_or_a_plain_reference(admin: Caller, url: str) -> None:
    made = await admin.post("/api/docker-images", {"slug": "x", "imageUrl": url})
    assert made.expect(201).json["imageUrl"] == url


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_an_image_given_as_a_web_address_is_dockers(admin: Caller, scheme: str) -> None:
    body = {"slug": "Deb_12", "imageUrl": f"{scheme}://r.example:5000/pushrod/debian:12"}
    made = (await admin.post("/api/docker-images", body)).expect(201).json
    assert made["imageUrl"] == "docker://r.example:5000/pushrod/debian:12"
    project = await admin.new_project()
    await admin.new_workflow(project, step_of("a", imageSlug="Deb_12"))


# The audit log


async def test_the_audit_log_is_filtered_and_paged(admin: Caller) -> None:
    one, two = await admin.new_project(name="one"), await admin.new_project(name="two")
    await admin.new_build(one)
    whole = (await admin.get("/api/audit-logs")).expect(200).json
    for entry in whole["auditLogs"]:
        check("AuditLog", entry)
    assert whole["pagination"]["limit"] == 100
    assert whole["pagination"]["total"] == len(whole["auditLogs"])
    created = (await admin.get("/api/audit-logs?action=project.created&limit=1")).json
    assert [entry["projectId"] for entry in created["auditLogs"]] == [two["id"]]
    assert created["pagination"] == {"total": 2, "limit": 1, "offset": 0, "hasMore": True}
    of_one = (await admin.get(f"/api/audit-logs?projectId={one['id']}")).json
    actions = [entry["action"] for entry in of_one["auditLogs"]]
    assert actions == ["build.created", "workflow.created", "project.created"]
    both = f"/api/audit-logs?projectId={two['id']}&action=build.created"
    assert (await admin.get(both)).json["auditLogs"] == []


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
