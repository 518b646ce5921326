"""A commit that is both pushed and asked to be merged, and a pull request opened with labels."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.coordinator_fixture import Coordinator, eventually
from tests.integration.forge_fixture import Hook, Repository, push_payload
from tests.integration.pushes.pull_requests import pull, settled

BOTH = "on: {push: {}, pullRequest: {branches: [main]%s}}\nsteps: [{name: a, image: b, run: c}]\n"
FULL = "on: {pullRequest: {labels: [full-ci, slow]}}\nsteps: [{name: a, image: b, run: c}]\n"


async def pushed(
    hook: Hook, repository: Repository, sha: str, branch: str = "pears"
) -> dict[str, Any]:
    """The push event of a commit that is at the forge already."""
    await repository.tree.git("push", "-q", "-f", "origin", f"{sha}:refs/heads/{branch}")
    payload = push_payload(repository.url, sha, ref=f"refs/heads/{branch}")
    return await settled(hook, await hook.github("push", payload))


async def commit(repository: Repository, workflow: str) -> str:
    return await repository.push({".pushrod.yml": workflow}, "pears", "refs/pull/7/head")


async def test_the_pushs_build_serves_the_pull_request_that_comes_later(
    repository: Repository, hook: Hook
) -> None:
    sha = await commit(repository, BOTH % "")
    assert len((await pushed(hook, repository, sha))["builds"]) == 1
    told = await pull(hook, repository, fork=False, sha=sha)
    assert (told["status"], told["builds"]) == ("ignored", [])
    assert told["reason"].endswith("#1 builds this commit already, for the push to pears")


async def test_the_pull_requests_build_serves_the_push_that_comes_later(
    repository: Repository, hook: Hook
) -> None:
    told = await pull(hook, repository, fork=False, workflow=BOTH % "")
    assert len(told["builds"]) == 1
    push = await pushed(hook, repository, told["sha"])
    assert (push["status"], push["builds"]) == ("ignored", [])
    assert push["reason"].endswith("#1 builds this commit already, for the pull request #7")
    # The next commit is another one.
    told = await pull(hook, repository, fork=False, action="synchronize", workflow=BOTH % "")
    assert len(told["builds"]) == 1


@pytest.mark.parametrize("pushed_first", [False, True])
@pytest.mark.parametrize(
    ("workflow", "branch", "change"),
    [
        (BOTH % ", alsoPush: true", "pears", {}),
        (BOTH % "", "pears", {"fork": True}),
        (BOTH % "", "other", {}),
    ],
)
async def test_what_is_not_the_same_or_is_wanted_twice_is_built_twice(
    repository: Repository,
    hook: Hook,
    workflow: str,
    branch: str,
    change: dict[str, Any],
    pushed_first: bool,
) -> None:
    sha = await commit(repository, workflow)
    event = {"fork": False, "sha": sha, **change}
    if pushed_first:
        told = [await pushed(hook, repository, sha, branch), await pull(hook, repository, **event)]
    else:
        told = [await pull(hook, repository, **event), await pushed(hook, repository, sha, branch)]
    assert [len(one["builds"]) for one in told] == [1, 1]


async def test_a_push_to_the_default_branch_has_a_build_of_its_own(
    coordinator: Coordinator, repository: Repository, hook: Hook
) -> None:
    sha = await commit(repository, BOTH % "")
    assert len((await pushed(hook, repository, sha, "main"))["builds"]) == 1
    path = f"/api/projects/{hook.project['id']}"
    assert (await coordinator.admin.get(path)).expect(200).json["defaultBranch"] == "main"
    # A pull request of main itself, into another branch.
    workflow = (BOTH % "").replace("[main]", "[release]")
    sha = await commit(repository, workflow)
    first = await pull(hook, repository, fork=False, base="release", sha=sha, head="main")
    second = await pushed(hook, repository, sha, "main")
    assert [len(one["builds"]) for one in (first, second)] == [1, 1]


async def test_a_cancelled_build_serves_nobody_and_a_redelivery_builds_anew(
    coordinator: Coordinator, repository: Repository, hook: Hook
) -> None:
    sha = await commit(repository, BOTH % "")
    [build] = (await pushed(hook, repository, sha))["builds"]
    (await coordinator.admin.post(f"/api/projects/-/builds/{build['id']}/cancel")).expect(200)
    assert len((await pull(hook, repository, fork=False, sha=sha))["builds"]) == 1
    [delivery] = [one for one in await hook.deliveries() if one["event"] == "pull_request"]
    path = f"/api/projects/{hook.project['id']}/deliveries/{delivery['deliveryId']}/redeliver"
    (await coordinator.admin.post(path)).expect(202)

    async def is_built_anew() -> bool:
        return len(await coordinator.admin.builds(hook.project)) == 3

    await eventually(is_built_anew)


@pytest.mark.parametrize("opened_first", [False, True])
async def test_a_pull_request_opened_with_labels_is_built_once(
    repository: Repository, hook: Hook, opened_first: bool
) -> None:
    sha = await commit(repository, FULL)
    both = {"labels": ["full-ci", "slow"], "sha": sha, "fork": False}
    events: list[dict[str, Any]] = [
        {"action": "opened"},
        {"action": "labeled", "label": "full-ci"},
        {"action": "labeled", "label": "slow"},
    ]
    told = [
        await pull(hook, repository, **both, **event)
        for event in (events if opened_first else reversed(events))
    ]
    assert [len(one["builds"]) for one in told] == [1, 0, 0]
    assert told[1]["reason"].endswith("#1 builds this commit already, for the pull request #7")
