"""What `on.pullRequest` asks for besides its branches: files, labels, and whether drafts count."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.forge_fixture import Hook, Repository, push_payload
from tests.integration.pushes.pull_requests import pull

STEPS = "steps: [{name: a, image: b, run: c}]\n"
LABELS = "on: {pullRequest: {labels: [full-ci]}}\n" + STEPS
NO_DRAFTS = "on: {pullRequest: {drafts: false}}\n" + STEPS
PLAIN = "on: pullRequest\n" + STEPS


@pytest.mark.parametrize(
    ("workflow", "event", "built"),
    [
        (LABELS, {"labels": ["docs", "full-ci"]}, True),
        (LABELS, {"labels": ["docs"]}, False),
        (LABELS, {}, False),
        (LABELS, {"action": "labeled", "label": "full-ci", "labels": ["full-ci"]}, True),
        (LABELS, {"action": "labeled", "label": "docs", "labels": ["docs", "full-ci"]}, False),
        (PLAIN, {"action": "labeled", "label": "full-ci", "labels": ["full-ci"]}, False),
        (NO_DRAFTS, {"draft": True}, False),
        (NO_DRAFTS, {"draft": False}, True),
        (NO_DRAFTS, {"action": "ready_for_review"}, True),
        (PLAIN, {"draft": True}, True),
        (PLAIN, {"action": "ready_for_review"}, False),
        ("steps: nonsense", {"action": "labeled", "label": "full-ci"}, False),
        ("steps: nonsense", {"action": "ready_for_review"}, False),
        ("steps: nonsense", {}, True),
    ],
)
async def test_labels_and_drafts_decide_what_a_pull_request_starts(
    workflow: str,
    event: dict[str, Any],
    built: bool,
    repository: Repository,
    hook: Hook,
) -> None:
    told = await pull(hook, repository, fork=False, workflow=workflow, **event)
    assert len(told["builds"]) == built, told
    if not built:
        assert "no workflow is triggered" in told["reason"]


async def test_the_label_is_compared_as_it_is_and_never_as_a_pattern(
    repository: Repository,
    hook: Hook,
) -> None:
    workflow = 'on: {pullRequest: {labels: ["*", "!x"]}}\n' + STEPS
    assert (await pull(hook, repository, fork=False, workflow=workflow, labels=["a"]))[
        "status"
    ] == "ignored"


@pytest.mark.parametrize(
    ("paths", "built"),
    [
        ('["src/**"]', True),
        ('["docs/**"]', False),
        ('["moved-on/**"]', False),
        ('["**", "!src/**", "!.pushrod.yml"]', False),
    ],
)
async def test_paths_are_compared_with_where_the_pull_request_left_its_base(
    paths: str,
    built: bool,
    repository: Repository,
    hook: Hook,
) -> None:
    workflow = f"on: {{pullRequest: {{paths: {paths}}}}}\n" + STEPS
    start = await repository.push({".pushrod.yml": PLAIN})
    await repository.push({"moved-on/file": "after the pull request began"})
    await repository.tree.git("reset", "-q", "--hard", start)
    told = await pull(
        hook, repository, fork=False, workflow=workflow, files={"src/a.py": "print()"}
    )
    assert len(told["builds"]) == built, told


async def test_a_pull_request_to_a_branch_that_is_not_there_is_built_whatever_changed(
    repository: Repository,
    hook: Hook,
) -> None:
    workflow = 'on: {pullRequest: {paths: ["nowhere/**"]}}\n' + STEPS
    told = await pull(hook, repository, fork=True, workflow=workflow, base="release")
    assert len(told["builds"]) == 1


@pytest.mark.parametrize(
    "labels", [None, "full-ci", [{"name": 7}, {"name": None}, {}, 5, {"name": "x" * 5000}] * 50]
)
async def test_labels_that_are_none_count_for_nothing(
    labels: Any,
    repository: Repository,
    hook: Hook,
) -> None:
    sha = await repository.push({".pushrod.yml": LABELS}, "a", "refs/pull/7/head")
    payload = {
        "action": "opened",
        "number": 7,
        "pull_request": {
            "head": {"ref": "a", "sha": sha, "repo": {"id": 2}},
            "base": {"ref": "main", "repo": {"id": 1}},
            "labels": labels,
            "draft": "yes",
        },
        "repository": {"clone_url": repository.url},
    }
    told = (await hook.github("pull_request", payload)).expect(202).json
    assert told["status"] == "ignored"


CONDITIONS = """
on: [push, pullRequest]
env: {TARGET: shop, AT: "${{ sha }}"}
steps:
  - {name: labelled, image: b, run: c, when: '"full-ci" in labels'}
  - {name: ready, image: b, run: c, when: '!draft'}
  - {name: pull, image: b, run: c, when: 'ref == "refs/pull/7/head"'}
  - {name: main, image: b, run: c, when: 'ref == "refs/heads/main"'}
  - {name: shop, image: b, run: c, when: 'env.TARGET == "shop" && size(env.AT) == 40'}
  - {name: own, image: b, run: c, when: 'env.TARGET == "own"', env: {TARGET: own}}
"""


async def test_conditions_ask_about_labels_drafts_refs_and_the_environment(
    repository: Repository,
    hook: Hook,
) -> None:
    admin = hook.coordinator.admin
    event = {"labels": ["full-ci", "it's; $(x)"], "draft": True}
    told = await pull(hook, repository, fork=True, workflow=CONDITIONS, **event)
    build = await admin.build(told["builds"][0]["id"])
    assert build["pullRequest"]["labels"] == event["labels"]
    assert build["pullRequest"]["draft"] is True
    assert _running(build) == ["labelled", "pull", "shop", "own"]

    sha = await repository.push({".pushrod.yml": CONDITIONS}, "of main")
    push = (await hook.github("push", push_payload(repository.url, sha))).json
    build = await admin.build(push["builds"][0]["id"])
    assert _running(build) == ["ready", "main", "shop", "own"]


def _running(build: dict[str, Any]) -> list[str]:
    return [step["name"] for step in build["steps"] if step.get("reason") != "condition false"]
