"""Webhooks over real HTTP, with a second git server as the forge."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.coordinator_fixture import (
    ONE_STEP,
    Answer,
    Coordinator,
    eventually,
    new_work_tree,
    open_coordinator,
    try_git,
)
from tests.integration.forge_fixture import (
    Forge,
    Hook,
    Repository,
    open_forge,
    push_payload,
    remote_project,
    signature,
    until_settled,
)

WORDS = st.sampled_from(
    ["ref", "after", "before", "deleted", "repository", "clone_url", "refs", "event", "action"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS | st.text(), inner),
    max_leaves=30,
)
LOCAL = {"allow_http_repositories": True, "allow_private_addresses": True}


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    options = {**LOCAL, "fetch_retry_seconds": 0.05, "fetch_attempts": 3}
    async with open_coordinator(tmp_path, **options) as coordinator:
        yield coordinator


@pytest.fixture
async def forge(tmp_path: Path) -> AsyncIterator[Forge]:
    async with open_forge(tmp_path) as forge:
        yield forge


@pytest.fixture
async def repository(forge: Forge, tmp_path: Path) -> Repository:
    return await forge.new_repository(tmp_path / "tree")


@pytest.fixture
async def hook(coordinator: Coordinator, repository: Repository) -> Hook:
    return (await remote_project(coordinator, repository.url))[1]


async def builds_of(hook: Hook) -> list[dict[str, object]]:
    return await hook.coordinator.admin.builds(hook.project)


async def test_a_signed_push_is_fetched_and_built_for_an_agent_to_take(
    coordinator: Coordinator, repository: Repository, hook: Hook
) -> None:
    sha = await repository.push({".pushrod.yml": ONE_STEP}, "first")
    answer = await hook.github("push", push_payload(repository.url, sha), delivery="d-1")
    told = answer.expect(202).json
    assert (told["deliveryId"], told["status"]) == ("d-1", "processed")
    [build] = await builds_of(hook)
    assert [made["id"] for made in told["builds"]] == [build["id"]]
    assert told["builds"][0]["url"] == build["url"]
    assert (build["commitHash"], build["branch"], build["event"]) == (sha, "main", "push")
    assert build["commitMessage"] == "first"

    agent = await coordinator.admin.new_agent()
    spec = await agent.take()
    environment = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "http.extraHeader",
        "GIT_CONFIG_VALUE_0": f"Authorization: Bearer {spec['token']}",
    }
    clone = repository.tree.folder.parent / "agent"
    clone.mkdir()
    await repository.tree.git("init", "-q", str(clone))
    fetched = await try_git(
        clone,
        "fetch",
        spec["source"]["url"],
        spec["source"]["commit"],
        environment=repository.tree.environment | environment,
    )
    assert fetched.exit_code == 0, fetched.errors


async def test_a_repeat_is_answered_200_and_builds_nothing_twice(
    repository: Repository, hook: Hook
) -> None:
    sha = await repository.push({".pushrod.yml": ONE_STEP})
    payload = push_payload(repository.url, sha)
    first = (await hook.github("push", payload, delivery="same")).expect(202)
    again = (await hook.github("push", payload, delivery="same")).expect(200)
    assert again.json == first.json
    assert len(await builds_of(hook)) == 1


@pytest.mark.parametrize("forge_name", ["github", "generic"])
async def test_what_is_not_signed_with_the_projects_secret_is_401_and_not_stored(
    forge_name: str, coordinator: Coordinator, hook: Hook, repository: Repository
) -> None:
    header = {"github": "X-Hub-Signature-256", "generic": "X-Pushrod-Signature-256"}[forge_name]

    async def send(headers: dict[str, str]) -> Answer:
        if forge_name == "github":
            return await hook.github("push", {}, headers=headers)
        return await hook.generic({}, headers=headers)

    other, _ = await remote_project(coordinator, repository.url, "other")
    for wrong in (
        "",
        "sha256=",
        signature("guess", b"{}"),
        "é",
        signature(other["webhookSecret"], b"{}"),
    ):
        (await send({header: wrong})).expect(401)
    listed = await coordinator.admin.get(f"/api/projects/{hook.project['id']}/deliveries")
    assert listed.json["deliveries"] == []
    assert listed.json["rejectedSinceStart"] == 5


async def test_a_project_that_does_not_exist_tells_nobody_so(coordinator: Coordinator) -> None:
    hook = Hook(coordinator, {"id": str(uuid4()), "webhookSecret": "guess"})
    (await hook.github("ping", {})).expect(401)


async def test_a_body_over_25_mib_is_413(hook: Hook) -> None:
    (await hook.github("push", b" " * (25 * 1024 * 1024 + 1))).expect(413)


@pytest.mark.parametrize(
    ("event", "change", "reason"),
    [
        ("ping", {}, "ping"),
        ("issues", {}, "issues"),
        ("push", {"repository": {"clone_url": "https://github.com/else/where.git"}}, "another"),
        ("push", {"repository": None}, "another"),
        ("push", {"ref": "refs/notes/x"}, "no branch or tag"),
        ("push", {"head_commit": {"message": "docs [skip ci]"}}, "skip ci"),
        ("push", {"head_commit": {"message": "docs [CI SKIP]"}}, "skip ci"),
        ("push", {"after": "0" * 40, "deleted": True}, "deleted"),
        ("push", {"after": "HEAD"}, "no commit"),
    ],
)
async def test_what_is_not_for_us_is_ignored_with_the_reason(
    event: str, change: dict[str, object], reason: str, repository: Repository, hook: Hook
) -> None:
    payload = push_payload(repository.url, "a" * 40) | change
    told = (await hook.github(event, payload)).expect(202).json
    assert told["status"] == "ignored"
    assert reason in told["reason"]
    [delivery] = await hook.deliveries()
    assert delivery["reason"] == told["reason"]
    assert repository.forge.asked == []


async def test_a_push_that_triggers_nothing_is_ignored_with_the_reason(
    repository: Repository, hook: Hook
) -> None:
    sha = await repository.push({"README": "hello"})
    told = (await hook.github("push", push_payload(repository.url, sha))).json
    assert (told["status"], "no workflow" in told["reason"]) == ("ignored", True)
    workflow = ONE_STEP.replace("{push: {}}", "{push: {branches: [release]}}")
    sha = await repository.push({".pushrod.yml": workflow})
    told = (await hook.github("push", push_payload(repository.url, sha))).json
    assert (
        told["status"],
        "not triggered" in told["reason"] or "no workflow is triggered" in told["reason"],
    ) == ("ignored", True)


async def test_skip_ci_in_the_fetched_commit_is_heeded_too(
    repository: Repository, hook: Hook
) -> None:
    sha = await repository.push({".pushrod.yml": ONE_STEP}, "typo [skip ci]")
    event = {"refs": [{"ref": "refs/heads/main", "before": None, "after": sha}]}
    told = (await hook.generic(event)).json
    assert (told["status"], await builds_of(hook)) == ("ignored", [])


async def test_a_force_push_builds_the_new_commit(repository: Repository, hook: Hook) -> None:
    first = await repository.push({".pushrod.yml": ONE_STEP}, "first")
    await hook.github("push", push_payload(repository.url, first))
    await repository.tree.git("checkout", "-q", "--orphan", "fresh")
    second = await repository.push({".pushrod.yml": ONE_STEP}, "anew")
    payload = push_payload(repository.url, second, before=first, forced=True)
    assert (await hook.github("push", payload)).json["status"] == "processed"
    assert [build["commitHash"] for build in await builds_of(hook)] == [second, first]


async def test_each_of_several_refs_is_built_and_a_deleted_one_is_not(
    repository: Repository, hook: Hook
) -> None:
    one = await repository.push({".pushrod.yml": ONE_STEP}, ref="refs/heads/one")
    two = await repository.push({"more": "x"}, ref="refs/heads/two/deep")
    event = {
        "event": "push",
        "repository": repository.url,
        "refs": [
            {"ref": "refs/heads/one", "before": "0" * 40, "after": one},
            {"ref": "refs/heads/two/deep", "before": "0" * 40, "after": two},
            {"ref": "refs/heads/three", "before": one, "after": "0" * 40},
        ],
    }
    told = (await hook.generic(event)).expect(202).json
    assert told["status"] == "processed"
    built = {build["branch"]: build["commitHash"] for build in await builds_of(hook)}
    assert built == {"one": one, "two/deep": two}


async def test_a_branch_may_take_the_place_of_a_folder_of_branches(
    repository: Repository, hook: Hook
) -> None:
    first = await repository.push({".pushrod.yml": ONE_STEP}, ref="refs/heads/a")
    await hook.github("push", push_payload(repository.url, first, ref="refs/heads/a"))
    await repository.tree.git("push", "-q", "origin", ":refs/heads/a")
    second = await repository.push({"x": "y"}, ref="refs/heads/a/b")
    told = await hook.github("push", push_payload(repository.url, second, ref="refs/heads/a/b"))
    assert told.json["status"] == "processed"


async def test_two_pushes_in_a_row_are_two_builds_though_both_are_fetched_at_once(
    repository: Repository, hook: Hook
) -> None:
    first = await repository.push({".pushrod.yml": ONE_STEP}, "first")
    second = await repository.push({"x": "y"}, "second")
    for sha in (first, second):
        await hook.github("push", push_payload(repository.url, sha))
    assert [build["commitHash"] for build in await builds_of(hook)] == [second, first]


async def test_a_commit_that_is_gone_from_the_forge_is_ignored_and_said_so(
    repository: Repository, hook: Hook
) -> None:
    await repository.push({".pushrod.yml": ONE_STEP})
    told = (await hook.github("push", push_payload(repository.url, "a" * 40))).json
    assert (told["status"], "no longer at the forge" in told["reason"]) == ("ignored", True)


async def test_a_workflow_with_mistakes_is_a_failed_build(
    repository: Repository, hook: Hook
) -> None:
    sha = await repository.push({".pushrod.yml": "steps: 3"})
    told = (await hook.github("push", push_payload(repository.url, sha))).json
    build = await hook.coordinator.admin.build(told["builds"][0]["id"])
    assert (build["state"], build["problems"][0]["file"]) == ("failed", ".pushrod.yml")


async def test_a_hosted_project_says_to_push_to_it(coordinator: Coordinator) -> None:
    hook = Hook(coordinator, await coordinator.admin.new_project())
    event = {"refs": [{"ref": "refs/heads/main", "after": "a" * 40}]}
    told = (await hook.generic(event)).expect(202).json
    assert (told["status"], "pushUrl" in told["reason"]) == ("ignored", True)


async def test_a_push_straight_to_a_project_with_a_remote_repository_is_refused_in_words(
    coordinator: Coordinator, repository: Repository, hook: Hook, tmp_path: Path
) -> None:
    tree = await new_work_tree(tmp_path, coordinator.admin, hook.project)
    await tree.commit({".pushrod.yml": ONE_STEP})
    pushed = await try_git(tree.folder, "push", "origin", "main", environment=tree.environment)
    assert pushed.exit_code != 0
    assert f"the source of this project is {repository.url}" in pushed.errors


async def test_an_unreachable_forge_is_tried_again_until_it_answers(
    coordinator: Coordinator, repository: Repository, hook: Hook
) -> None:
    sha = await repository.push({".pushrod.yml": ONE_STEP})
    repository.forge.status = 503
    told = await hook.github("push", push_payload(repository.url, sha), delivery="d", wait=0)
    assert told.expect(202).json["status"] == "received"

    async def tried() -> bool:
        return (await hook.deliveries())[0]["attempts"] >= 1

    await eventually(tried)
    repository.forge.status = None
    assert (await until_settled(hook, "d"))["status"] == "processed"
    assert len(await builds_of(hook)) == 1


async def test_a_forge_that_stays_away_is_a_failed_build_and_a_repeat_tries_again(
    repository: Repository, hook: Hook
) -> None:
    sha = await repository.push({".pushrod.yml": ONE_STEP})
    repository.forge.status = 503
    payload = push_payload(repository.url, sha)
    await hook.github("push", payload, delivery="d", wait=0)
    delivery = await until_settled(hook, "d")
    assert (delivery["status"], delivery["attempts"]) == ("failed", 3)
    [build] = await builds_of(hook)
    assert (build["state"], build["commitHash"], build["branch"]) == ("failed", sha, "main")
    assert "could not be fetched" in str(build["reason"])
    refused = await hook.coordinator.admin.post(f"/api/projects/-/builds/{build['id']}/retry")
    refused.expect(409)

    repository.forge.status = None
    again = (await hook.github("push", payload, delivery="d")).expect(202).json
    assert again["status"] == "processed"
    assert [build["state"] for build in await builds_of(hook)] == ["queued", "failed"]


async def test_a_delivery_that_was_committed_but_not_processed_is_found_at_the_next_start(
    coordinator: Coordinator, repository: Repository, hook: Hook
) -> None:
    sha = await repository.push({".pushrod.yml": ONE_STEP})
    repository.forge.status = 503
    await hook.github("push", push_payload(repository.url, sha), delivery="d", wait=0)
    await coordinator.stop()
    repository.forge.status = None
    await coordinator.start()
    assert (await until_settled(hook, "d"))["status"] == "processed"
    assert len(await builds_of(hook)) == 1


async def test_redelivering_builds_once_more(
    coordinator: Coordinator, repository: Repository, hook: Hook
) -> None:
    sha = await repository.push({".pushrod.yml": ONE_STEP})
    await hook.github("push", push_payload(repository.url, sha), delivery="d/1")
    path = f"/api/projects/{hook.project['id']}/deliveries/d%2F1/redeliver"
    (await coordinator.admin.post(path)).expect(202)
    delivery = await until_settled(hook, "d/1")
    assert [build["number"] for build in delivery["builds"]] == [1, 2]
    assert len(await builds_of(hook)) == 2
    viewer = await coordinator.admin.new_token(role="viewer", account="default")
    (await viewer.post(path)).expect(403)
    stranger = await coordinator.admin.new_token(role="maintainer", account="strangers")
    (await stranger.post(path)).expect(404)
    (await stranger.get(f"/api/projects/{hook.project['id']}/deliveries")).expect(404)


async def test_what_is_not_for_us_is_ignored_also_when_it_is_redelivered(
    coordinator: Coordinator, repository: Repository, hook: Hook
) -> None:
    sha = await repository.push({".pushrod.yml": ONE_STEP})
    elsewhere = {"repository": {"clone_url": "https://github.com/else/where.git"}}
    payload = push_payload(repository.url, sha) | elsewhere
    await hook.github("push", payload, delivery="d/1")
    path = f"/api/projects/{hook.project['id']}/deliveries/d%2F1/redeliver"
    (await coordinator.admin.post(path)).expect(202)
    delivery = await until_settled(hook, "d/1")
    assert (delivery["status"], delivery["builds"]) == ("ignored", [])
    assert "another repository" in delivery["reason"]
    assert (await builds_of(hook), repository.forge.asked) == ([], [])


async def test_the_hook_may_ask_for_lines_of_text(repository: Repository, hook: Hook) -> None:
    sha = await repository.push({".pushrod.yml": ONE_STEP})
    event = {"refs": [{"ref": "refs/heads/main", "after": sha}]}
    answer = await hook.generic(event, headers={"Accept": "text/plain"})
    [build] = await builds_of(hook)
    assert answer.text == f"build #1: {build['url']}\n"


async def test_a_tag_is_built_by_the_workflows_that_want_it(
    repository: Repository, hook: Hook
) -> None:
    workflow = "on: {tag: ['v*']}\nsteps: [{name: a, image: b, run: c}]\n"
    sha = await repository.push({".pushrod.yml": workflow})
    await repository.tree.git("tag", "-a", "-m", "first", "v1.0")
    await repository.tree.git("push", "-q", "origin", "v1.0")
    tag = (await repository.tree.git("rev-parse", "v1.0")).output
    payload = push_payload(repository.url, tag, ref="refs/tags/v1.0")
    assert (await hook.github("push", payload)).json["status"] == "processed"
    [build] = await builds_of(hook)
    assert (build["event"], build["commitHash"]) == ("tag", sha)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    payload=JSON,
    kind=st.sampled_from(["push", "pull_request", "ping", "issues"]),
    valid=st.booleans(),
)
async def test_no_signed_payload_is_answered_by_a_5xx(
    payload: object, kind: str, valid: bool, hook: Hook
) -> None:
    if valid and isinstance(payload, dict):
        payload = push_payload("http://x/y", "a" * 40) | payload
    assert (await hook.github(kind, payload, wait=0)).status in (200, 202, 400)
    assert (await hook.generic(payload, wait=0)).status in (200, 202, 400)


@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b"[" * 100_000, b"1" * 5000, b"\xff\xfe", b'{"ref": "\\ud800"}']
)
async def test_no_signed_body_is_answered_by_a_5xx(body: bytes, hook: Hook) -> None:
    assert (await hook.github("push", body)).status in (202, 400)
    assert (await hook.generic(body)).status in (202, 400)


async def test_a_forges_tag_is_built_whatever_its_commits_message_asks_for(
    coordinator: Coordinator, repository: Repository, hook: Hook
) -> None:
    released = ONE_STEP.replace("push: {}", "tag: ['v*']")
    sha = await repository.push({".pushrod.yml": released}, "[skip ci] 9", ref="refs/tags/v9")
    payload = push_payload(repository.url, sha, ref="refs/tags/v9", message="[skip ci] 9")
    await hook.github("push", payload)
    assert [build["event"] for build in await coordinator.admin.builds(hook.project)] == ["tag"]


async def test_a_remote_project_is_built_by_hand_at_what_its_webhooks_brought(
    coordinator: Coordinator, repository: Repository, hook: Hook
) -> None:
    workflow = "on: {push: {}, manual: {}}\nsteps: [{name: a, image: b, run: c}]\n"
    sha = await repository.push({".pushrod.yml": workflow})
    await hook.github("push", push_payload(repository.url, sha))
    path = f"/api/projects/{hook.project['id']}"
    [known] = (await coordinator.admin.get(f"{path}/workflows")).expect(200).json
    body = {"workflowId": known["id"], "branch": "main"}
    built = (await coordinator.admin.post(f"{path}/builds", body)).expect(201).json
    assert built["commitHash"] == sha
    unnamed = (await coordinator.admin.post(f"{path}/builds", body | {"branch": None})).expect(201)
    assert unnamed.json["branch"] == "main"
    for wrong in ({"branch": "wip"}, {"commitHash": "a" * 40, "branch": "main"}):
        (await coordinator.admin.post(f"{path}/builds", body | wrong)).expect(400)
