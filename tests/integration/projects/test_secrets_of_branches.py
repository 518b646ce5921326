"""A secret for some branches or tags reaches their builds alone, whatever somebody calls theirs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.coordinator_fixture import (
    AgentCaller,
    Caller,
    Coordinator,
    WorkTree,
    new_work_tree,
    open_coordinator,
    step_of,
)

VALUE = "s3cret-of-release"
WORKFLOW = (
    "name: ci\non: {push: {}, tag: , manual: {}}\n"
    "steps: [{name: deploy, image: base, run: 'true', secrets: [KEY]}]\n"
)
FOR_RELEASE = "it is for branch release/*"


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    coordinator: Coordinator
    project: Mapping[str, Any]
    tree: WorkTree

    @property
    def admin(self) -> Caller:
        return self.coordinator.admin

    @property
    def secret(self) -> str:
        return f"/api/projects/{self.project['id']}/secrets/KEY"

    async def set(self, value: str = VALUE, **whose: str) -> None:
        body = {"value": value, **whose}
        (await self.admin.call("PUT", self.secret, json=body)).expect(200)

    async def pushed(self, ref: str, files: Mapping[str, str] | None = None) -> dict[str, Any]:
        """The build of a commit that is pushed to that branch or tag."""
        await self.tree.commit(files or {".pushrod.yml": WORKFLOW}, f"for {ref}")
        await self.tree.push(f"HEAD:{ref}")
        return await self.newest()

    async def newest(self) -> dict[str, Any]:
        builds = await self.admin.builds(self.project)
        return await self.admin.build(builds[0]["id"])

    async def by_hand(self, **origin: str) -> dict[str, Any]:
        path = f"/api/projects/{self.project['id']}/builds"
        made = (await self.admin.post(path, {"workflowId": "ci", **origin})).expect(201)
        return await self.admin.build(made.json["id"])

    async def agent(self) -> AgentCaller:
        return await self.admin.new_agent()

    async def head(self) -> str:
        return (await self.tree.git("rev-parse", "HEAD")).output


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with open_coordinator(tmp_path) as coordinator:
        yield coordinator


@pytest.fixture
async def house(coordinator: Coordinator, tmp_path: Path) -> House:
    project = await coordinator.admin.new_project()
    tree = await new_work_tree(tmp_path, coordinator.admin, project)
    return House(coordinator=coordinator, project=project, tree=tree)


def is_refused(build: Mapping[str, Any], words: str) -> bool:
    """Before any step of it could be handed out."""
    [problem] = build["problems"]
    assert VALUE not in str(build)
    assert build["reason"] == "secret for other branches: KEY"
    assert f"step `deploy` needs the secret KEY, which {words}" in problem["message"]
    return build["status"] == "FAILED" and build["steps"] == []


async def test_a_branch_that_may_not_have_it_is_refused_before_anything_runs(house: House) -> None:
    await house.set(branch="release/*")
    assert is_refused(
        await house.pushed("refs/heads/feature/x"),
        f"builds of branch feature/x may not have: {FOR_RELEASE}",
    )
    await house.pushed("refs/heads/release/1")
    assert (await (await house.agent()).take())["secrets"] == {"KEY": VALUE}


async def test_a_tag_is_no_branch_and_a_branch_no_tag(house: House) -> None:
    await house.set(branch="release/*")
    for name in ("refs/tags/release/1", "refs/tags/main"):
        assert is_refused(await house.pushed(name), f"builds of tag {name[10:]} may not have")
    (await house.admin.call("DELETE", house.secret)).expect(200)
    await house.set(tag="v*")
    assert is_refused(await house.pushed("refs/heads/v1"), "builds of branch v1 may not have")
    await house.pushed("refs/tags/v2")
    assert (await (await house.agent()).take())["secrets"] == {"KEY": VALUE}


async def test_calling_a_commit_by_a_branch_that_lacks_it_opens_nothing(house: House) -> None:
    await house.pushed("refs/heads/release/1")
    released = await house.head()
    await house.set(branch="release/*")
    await house.pushed("refs/heads/evil")
    evil = await house.head()
    for origin in (
        {"branch": "release/1", "commitHash": evil},
        {"branch": "release/none", "commitHash": evil},
        {"branch": "release/1/../../evil", "commitHash": evil},
        {"commitHash": evil},
        {"commitHash": released},
    ):
        assert is_refused(await house.by_hand(**origin), "builds of commit")
    assert is_refused(await house.by_hand(branch="evil"), "builds of branch evil may not have")
    named = await house.by_hand(branch="release/1", commitHash=released)
    assert named.get("problems") is None
    assert (await house.by_hand(branch="release/1")).get("problems") is None


async def test_a_retry_is_of_what_the_first_was_and_looks_at_the_rules_anew(house: House) -> None:
    refused = []
    await house.set(branch="release/*")
    for name in ("feature", "release/1"):
        build = await house.pushed(f"refs/heads/{name}")
        if build["status"] != "FAILED":
            (await house.admin.post(f"/api/projects/-/builds/{build['id']}/cancel")).expect(200)
        await house.tree.git("push", "-q", "origin", f"HEAD:{name}-moved", f":{name}")
        again = await house.admin.post(f"/api/projects/-/builds/{build['id']}/retry")
        refused.append(
            bool((await house.admin.build(again.expect(201).json["id"])).get("problems"))
        )
    assert refused == [True, False]
    await house.set(branch="other")
    (await house.admin.call("DELETE", f"{house.secret}?branch=release/*")).expect(200)
    again = await house.admin.post(f"/api/projects/-/builds/{build['id']}/retry")
    assert is_refused(await house.admin.build(again.expect(201).json["id"]), "builds of branch ")


async def test_a_build_of_before_the_rules_has_no_branch_that_is_known(house: House) -> None:
    """As those that an earlier release made: what they are called counts for nothing."""
    import sqlite3

    build = await house.pushed("refs/heads/release/1", {".pushrod.yml": WORKFLOW})
    await house.coordinator.stop()
    with sqlite3.connect(house.coordinator.data / "pushrod.db") as connection:
        connection.execute("UPDATE builds SET trusted_ref = NULL")
    await house.coordinator.start()
    await house.set(branch="release/*")
    again = await house.admin.post(f"/api/projects/-/builds/{build['id']}/retry")
    assert is_refused(await house.admin.build(again.expect(201).json["id"]), "builds of commit")


async def test_a_rule_set_after_the_build_was_made_counts_when_the_step_is_handed_out(
    house: House,
) -> None:
    await house.set()
    build = await house.pushed("refs/heads/main")
    assert build.get("problems") is None
    (await house.admin.call("DELETE", house.secret)).expect(200)
    await house.set(branch="release/*")
    spec = await (await house.agent()).take()
    assert spec["secrets"] == {}
    assert spec["secretNames"] == []
    assert spec["refusedFor"] == "secrets"
    assert spec["refused"] == (
        f"the step needs the secret KEY, which builds of branch main may not have: {FOR_RELEASE}"
    )


async def test_a_skipped_step_is_refused_nothing_and_one_decided_late_only_when_it_runs(
    house: House,
) -> None:
    await house.set(branch="release/*")
    steps = (
        "name: ci\non: push\nsteps:\n"
        "- {name: test, image: base, run: 'true'}\n"
        "- {name: deploy, image: base, run: 'true', secrets: [KEY], dependsOn: [test], "
    )
    skipped = steps + "when: 'branch.startsWith(\"release/\")'}\n"
    build = await house.pushed("refs/heads/main", {".pushrod.yml": skipped})
    assert [step["status"] for step in build["steps"]] == ["READY", "SKIPPED"]
    (await house.admin.post(f"/api/projects/-/builds/{build['id']}/cancel")).expect(200)
    late = steps + "when: 'outputs.test.go == \"yes\"'}\n"
    build = await house.pushed("refs/heads/main", {".pushrod.yml": late})
    assert build.get("problems") is None
    agent = await house.agent()
    (await agent.complete(await agent.take(), outputs={"go": "yes"})).expect(200)
    spec = await agent.take()
    assert spec["name"] == "deploy"
    assert spec["secrets"] == {}
    assert "builds of branch main may not have" in spec["refused"]


async def test_a_generated_step_is_of_its_builds_branch(house: House) -> None:
    await house.set()
    await house.set("of-release", branch="release/*")
    both = "{name: gen, image: base, run: 'true', secrets: [KEY], generates: more.yml}"
    files = {".pushrod.yml": f"name: ci\non: push\nsteps: [{both}]\n"}
    agent = await house.agent()
    for branch, found in (("main", VALUE), ("release/1", "of-release")):
        await house.pushed(f"refs/heads/{branch}", files)
        spec = await agent.take()
        more = b"steps:\n- {name: made, image: base, run: 'true', secrets: [KEY]}\n"
        (await agent.upload(spec, "more.yml", more)).expect(201)
        (await agent.complete(spec)).expect(200)
        made = await agent.take()
        assert (spec["secrets"], made["secrets"]) == ({"KEY": found}, {"KEY": found})
        (await agent.complete(made)).expect(200)


async def test_generated_steps_that_may_not_have_it_fail_the_step_that_made_them(
    house: House,
) -> None:
    await house.set()
    both = "{name: gen, image: base, run: 'true', secrets: [KEY], generates: more.yml}"
    files = {".pushrod.yml": f"name: ci\non: push\nsteps: [{both}]\n"}
    await house.pushed("refs/heads/main", files)
    agent = await house.agent()
    spec = await agent.take()
    (await house.admin.call("DELETE", house.secret)).expect(200)
    await house.set(branch="release/*")
    more = b"steps:\n- {name: made, image: base, run: 'true', secrets: [KEY]}\n"
    (await agent.upload(spec, "more.yml", more)).expect(201)
    (await agent.complete(spec)).expect(200)
    [step] = (await house.newest())["steps"]
    assert step["status"] == "FAILED"
    assert f"builds of branch main may not have: {FOR_RELEASE}" in str(step)


async def test_a_workflow_of_the_api_has_what_the_branch_has_that_it_is_built_at(
    house: House,
) -> None:
    await house.pushed("refs/heads/release/1")
    await house.set(branch="release/*")
    step = step_of("deploy", secrets=["KEY"])
    named = await house.admin.new_build(house.project, step, branch="release/1")
    assert named.get("problems") is None
    for origin in ({}, {"branch": "release/1", "commitHash": "0" * 40}):
        build = await house.admin.new_build(house.project, step, **origin)
        assert build["status"] == "FAILED"


async def test_an_accounts_secret_is_for_all_its_projects_and_a_projects_own_comes_first(
    house: House,
) -> None:
    account = f"/api/accounts/{house.project['accountId']}/secrets"
    for body in ({"value": "of-account"}, {"value": "of-account-main", "branch": "main"}):
        (await house.admin.call("PUT", f"{account}/KEY", json=body)).expect(200)
    await house.set(branch="release/*")
    agent = await house.agent()
    found = {}
    for branch in ("main", "feature", "release/1"):
        await house.pushed(f"refs/heads/{branch}")
        spec = await agent.take()
        found[branch] = spec["secrets"]["KEY"]
        (await agent.complete(spec)).expect(200)
    assert found == {"main": "of-account-main", "feature": "of-account", "release/1": VALUE}
    listed = (await house.admin.get(f"/api/projects/{house.project['id']}/secrets")).expect(200)
    told = [(one["name"], one["of"], one.get("branch"), one.get("tag")) for one in listed.json]
    assert told == [
        ("KEY", "account", None, None),
        ("KEY", "account", "main", None),
        ("KEY", "project", "release/*", None),
    ]
    assert VALUE not in listed.text
    (await house.admin.call("DELETE", f"{account}/KEY")).expect(200)
    assert len((await house.admin.get(account)).json) == 0
    assert is_refused(await house.pushed("refs/heads/feature"), "builds of branch feature may not")


async def test_another_accounts_secret_reaches_nobody(house: House) -> None:
    other = await house.admin.new_project("other", "lib")
    account = f"/api/accounts/{other['accountId']}/secrets/KEY"
    (await house.admin.call("PUT", account, json={"value": VALUE})).expect(200)
    build = await house.pushed("refs/heads/main")
    assert build["reason"] == "missing secret: KEY"


async def test_one_value_is_deleted_and_the_others_stay(house: House) -> None:
    await house.set("general")
    await house.set(branch="main")
    await house.set(tag="v*")
    path = f"/api/projects/{house.project['id']}/secrets"
    for query, left in (("branch=main", 2), ("others=true", 1)):
        (await house.admin.call("DELETE", f"{house.secret}?{query}")).expect(200)
        assert len((await house.admin.get(path)).json) == left
    gone = await house.admin.call("DELETE", f"{house.secret}?branch=main")
    assert "the project has no secret 'KEY' for branch main" in gone.expect(404).text
    bad = await house.admin.call("DELETE", f"{house.secret}?others=true&tag=v*")
    assert "one of them" in bad.expect(400).text
    log = (await house.admin.get(f"/api/audit-logs?projectId={house.project['id']}")).json[
        "auditLogs"
    ]
    told = [(one["action"], one["details"].get("for")) for one in log if "secret" in one["action"]]
    assert told == [
        ("secret.deleted", "every build"),
        ("secret.deleted", "branch main"),
        ("secret.set", "tag v*"),
        ("secret.set", "branch main"),
        ("secret.set", None),
    ]
    assert VALUE not in str(log)


@pytest.mark.parametrize(
    ("whose", "words"),
    [
        ({"branch": "!main"}, "begins with `!`"),
        ({"branch": "refs/heads/main"}, "short name"),
        ({"tag": ""}, "is empty"),
        ({"branch": "a", "tag": "b"}, "for a branch or for a tag"),
    ],
)
async def test_a_rule_that_says_nothing_clear_is_refused(
    house: House, whose: dict[str, str], words: str
) -> None:
    answer = await house.admin.call("PUT", house.secret, json={"value": VALUE, **whose})
    assert words in answer.expect(400).text
    assert VALUE not in answer.text
