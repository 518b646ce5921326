"""The Build Server API (specification 003), as a table of our own, over real HTTP."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import pytest

from tests.contract.build_server.shapes import check, check_error, paths_of
from tests.integration.coordinator_fixture import Caller, step_of

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
