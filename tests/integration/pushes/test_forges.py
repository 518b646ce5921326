"""Every forge's own webhooks, from the recorded payload to the build."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.coordinator_fixture import Coordinator
from tests.integration.forge_fixture import Forge, Hook, Repository
from tests.unit.coordinator.forges.recorded import AFTER, FOLDER, REPOSITORIES

WORKFLOW = """
on: {push: {branches: [main]}, pullRequest: {}}
steps: [{name: test, image: base, run: 'true'}]
"""
FORK = "https://bitbucket.org/ben/shop"


@dataclass(frozen=True, slots=True)
class Kind:
    """Where a forge keeps a pull request's head, and what it sends."""

    folder: str
    push: str
    opened: str
    fork: str
    closed: str
    ref: str | None

    @property
    def forge(self) -> str:
        return self.folder.partition("/")[0]


KINDS = [
    Kind(
        "gitea",
        "push",
        "pull_request.opened",
        "pull_request.synchronized-fork",
        "pull_request.closed",
        "refs/pull/7/head",
    ),
    Kind(
        "gitlab",
        "push",
        "merge_request.open",
        "merge_request.pushed-to",
        "merge_request.merge",
        "refs/merge-requests/7/head",
    ),
    Kind(
        "bitbucket/cloud",
        "repo-push",
        "pullrequest-created",
        "pullrequest-created.fork",
        "pullrequest-rejected",
        None,
    ),
    Kind(
        "bitbucket/data-center",
        "repo-refs_changed",
        "pr-opened",
        "pr-from_ref_updated",
        "pr-declined",
        "refs/pull-requests/7/from",
    ),
]
CLOUD = KINDS[2]


async def send(
    hook: Hook, kind: Kind, name: str, url: str, sha: str = "", *, fork: str = "", **more: str
) -> dict[str, Any]:
    """A recorded payload, of that repository and commit."""
    body = (FOLDER / kind.folder / f"{name}.json").read_text()
    recorded = REPOSITORIES[kind.folder]
    for old, new in ((AFTER, sha), (AFTER[:12], sha[:12]), (FORK, fork)):
        body = body.replace(old, new or old)
    body = body.replace(recorded, url).replace(recorded.removesuffix(".git"), url)
    event = name.partition(".")[0]
    event = event.replace("-", ":") if kind.forge == "bitbucket" else event
    answer = await hook.send(kind.forge, event, body.encode(), **more)
    assert answer.status in (200, 202), answer.text
    return dict(answer.json)


async def builds(hook: Hook) -> list[dict[str, Any]]:
    """The oldest first."""
    found = await hook.coordinator.admin.builds(hook.project)
    return [await hook.coordinator.admin.build(build["id"]) for build in reversed(found)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.folder)
async def test_a_forges_pushes_and_pull_requests_are_built_and_end_with_them(
    kind: Kind, repository: Repository, forge: Forge, hook: Hook, tmp_path: Path
) -> None:
    url = repository.url
    pushed = await repository.push({".pushrod.yml": WORKFLOW}, "one")
    told = await send(hook, kind, kind.push, url, pushed, delivery="d-1")
    assert told["status"] == "processed", told
    again = await send(hook, kind, kind.push, url, pushed, delivery="d-1")
    assert again == told

    own = await repository.push({"a": "b"}, "own", kind.ref or "refs/heads/pears")
    told = await send(hook, kind, kind.opened, url, own)
    assert told["status"] == "processed", told

    if kind.ref is None:
        elsewhere = await forge.new_repository(tmp_path / "fork")
        theirs = await elsewhere.push({".pushrod.yml": WORKFLOW}, "theirs", "pears")
        told = await send(hook, kind, kind.fork, url, theirs, fork=elsewhere.url)
    else:
        theirs = await repository.push({"c": "d"}, "theirs", kind.ref)
        told = await send(hook, kind, kind.fork, url, theirs)
    assert told["status"] == "processed", told

    made = await builds(hook)
    assert [(one["event"], one["commitHash"], one["state"]) for one in made] == [
        ("push", pushed, "queued"),
        ("pullRequest", own, "queued"),
        ("pullRequest", theirs, "held"),
    ]
    told = await send(hook, kind, kind.closed, url)
    assert (told["status"], told["reason"]) == (
        "processed",
        "pull request 7 was closed: cancelled #2, #3",
    )
    ended = await builds(hook)
    assert [one["state"] for one in ended] == ["queued", "cancelled", "cancelled"]
    assert ended[1]["reason"] == "its pull request was closed"
    assert (await send(hook, kind, kind.closed, url))["status"] == "ignored"


async def test_a_running_build_outlives_its_pull_request_and_one_at_a_gate_does_not(
    coordinator: Coordinator, repository: Repository, hook: Hook
) -> None:
    kind, gate = KINDS[0], "\n  - {name: gate, approve: {}, dependsOn: [test]}\n"
    workflow = WORKFLOW.replace("[{", "\n  - {").replace("}]\n", "}") + gate
    sha = await repository.push({".pushrod.yml": workflow}, "own", "refs/pull/7/head")
    await send(hook, kind, kind.opened, repository.url, sha)
    agent = await coordinator.admin.new_agent()
    spec = await agent.take()
    told = await send(hook, kind, kind.closed, repository.url)
    assert told["reason"] == "pull request 7 was closed: none of its builds waits"
    await agent.complete(spec)
    assert [one["state"] for one in await builds(hook)] == ["running"]
    told = await send(hook, kind, kind.closed, repository.url)
    assert told["reason"] == "pull request 7 was closed: cancelled #1"
    assert [one["state"] for one in await builds(hook)] == ["cancelled"]


async def test_a_fork_is_fetched_from_its_own_address_without_the_credential(
    coordinator: Coordinator, repository: Repository, forge: Forge, hook: Hook, tmp_path: Path
) -> None:
    """Its `main` neither becomes the project's, nor is its commit taken for one of a branch."""
    own = await repository.push({".pushrod.yml": WORKFLOW}, "own")
    await send(hook, CLOUD, CLOUD.push, repository.url, own)
    path = f"/api/projects/{hook.project['id']}"
    await coordinator.admin.call("PUT", f"{path}/credential", json={"token": "anna:t"})
    elsewhere = await forge.new_repository(tmp_path / "fork")
    theirs = await elsewhere.push({".pushrod.yml": WORKFLOW}, "theirs", "main")
    await elsewhere.push({".pushrod.yml": WORKFLOW}, "theirs", "pears")
    forge.asked.clear()
    head = await elsewhere.push({"x": "y"}, "more", "pears")
    told = await send(hook, CLOUD, CLOUD.fork, repository.url, head, fork=elsewhere.url)
    assert told["status"] == "processed", told
    assert None in forge.asked, "the fork is asked without it"
    assert any(forge.asked), "and the project's own repository with it"
    asked = await coordinator.admin.post(
        f"{path}/builds", {"workflowId": ".pushrod.yml", "commitHash": theirs}
    )
    assert asked.expect(201).json["state"] == "held", "no branch of the project has it"
    by_hand = await coordinator.admin.post(f"{path}/builds", {"workflowId": ".pushrod.yml"})
    assert by_hand.expect(201).json["commitHash"] == own, "HEAD is the project's"

    forge.require("anna", "t")
    hidden = await elsewhere.push({"x": "z"}, "hidden", "pears")
    told = await send(hook, CLOUD, CLOUD.fork, repository.url, hidden, fork=elsewhere.url)
    assert told["status"] == "failed"
    assert "which is asked without a credential" in told["reason"]


async def test_a_fork_at_an_address_that_is_never_fetched_is_refused(
    repository: Repository, hook: Hook
) -> None:
    sha = await repository.push({".pushrod.yml": WORKFLOW}, "own")
    fork = f"file://{repository.path}"
    told = await send(hook, CLOUD, CLOUD.fork, repository.url, sha, fork=fork)
    assert (told["status"], "allow_file_repositories" in told["reason"]) == ("failed", True)


async def test_an_update_that_brings_no_commit_builds_nothing(
    repository: Repository, hook: Hook
) -> None:
    """Bitbucket Cloud tells of a new title as of a push, and of a head that has moved on late."""
    sha = await repository.push({".pushrod.yml": WORKFLOW}, "one", "pears")
    for status in ("processed", "ignored"):
        told = await send(hook, CLOUD, "pullrequest-updated", repository.url, sha)
        assert told["status"] == status
    assert "nothing was pushed" in told["reason"]
    await repository.push({"a": "b"}, "two", "pears")
    told = await send(hook, CLOUD, "pullrequest-updated", repository.url, "c" * 40)
    assert "is no longer at the forge" in told["reason"]
    assert len(await builds(hook)) == 1


async def test_a_webhook_at_another_forges_address_is_understood_and_told_its_own(
    repository: Repository, hook: Hook
) -> None:
    sha = await repository.push({".pushrod.yml": WORKFLOW}, "one")
    for kind in KINDS:
        for to in ("github", "generic"):
            told = await send(hook, kind, kind.push, repository.url, sha, to=to)
            assert told["status"] == "processed"
            assert f"/api/webhooks/{kind.forge}/{hook.project['id']}" in told["reason"]
    [delivery, *_] = await hook.deliveries()
    assert delivery["forge"] == "bitbucket"


async def test_a_forge_may_be_named_and_each_project_tells_its_address(
    coordinator: Coordinator,
) -> None:
    async def call(method: str, path: str, **body: str) -> Any:
        return await coordinator.admin.call(method, f"/api/projects{path}", json=body)

    url = "https://git.example.org/anna/shop"
    made = await call("POST", "", accountId="default", name="a", repoUrl=url, forge="gitea")
    project = made.expect(201).json
    path = f"/{project['id']}"
    assert project["forge"] == "gitea"
    assert project["webhookUrl"].endswith(f"/api/webhooks/gitea{path}")
    refused = await call("POST", "", accountId="default", name="b", forge="gogs")
    assert "known are" in refused.expect(400).text
    moved = await call("PATCH", path, repoUrl="https://gitlab.com/anna/shop")
    assert moved.json["forge"] == "gitlab", "what was said of another server is no longer so"
    both = await call("PATCH", path, repoUrl="https://git.example.org/a/b", forge="bitbucket")
    assert both.json["forge"] == "bitbucket"
    assert (await call("PATCH", path, name="c")).json["forge"] == "bitbucket"
    assert (await call("PATCH", path, forge="")).json["forge"] == "generic"
