"""Which builds start others, and which."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from coordinator.domain.lifecycle import BuildState
from coordinator.domain.model import Build, Project, PullRequestRef
from coordinator.domain.pushes.followings import followings_of, may_start_others, why_none_follows
from coordinator.domain.upstream import BuildListener
from pipelines_schema import BuildTrigger

NOW = datetime(2026, 3, 10, tzinfo=UTC)
LIB = Project(
    id="lib-id",
    account_id="acme",
    account_slug="acme",
    name="lib",
    slug="lib",
    repo_url=None,
    build_count=7,
    created_at=NOW,
    updated_at=NOW,
)
BUILD = Build(
    id="build",
    project_id="lib-id",
    account_id="acme",
    workflow_id=None,
    workflow_name="ci",
    number=7,
    state=BuildState.SUCCEEDED,
    event="push",
    version=1,
    branch="main",
    created_at=NOW,
    updated_at=NOW,
)
PULL = PullRequestRef(number=1, head="main", base="main", fork=False)


def listener(project: str = "app", path: str = "ci.yml", **wanted: Any) -> BuildListener:
    return BuildListener(
        id="id",
        account_id="acme",
        project_id=project,
        path=path,
        upstream="lib",
        definition=BuildTrigger(project="lib", **wanted),
    )


@pytest.mark.parametrize(
    ("change", "starts"),
    [
        ({}, True),
        ({"event": "tag"}, True),
        ({"event": "schedule"}, True),
        ({"event": "manual"}, True),
        ({"event": "build"}, True),
        ({"event": "pullRequest", "pull_request": PULL}, False),
        ({"event": "manual", "outside": True}, False),
        ({"event": "manual", "pull_request": replace(PULL, fork=True)}, False),
    ],
)
def test_builds_of_pull_requests_and_of_forks_start_no_other(
    change: dict[str, Any], starts: bool
) -> None:
    assert may_start_others(replace(BUILD, **change)) is starts


@pytest.mark.parametrize(
    ("wanted", "branch", "follows"),
    [
        ({}, "main", True),
        ({}, None, True),
        ({"workflow": "ci"}, "main", True),
        ({"workflow": "release"}, "main", False),
        ({"branches": ("rel/*",)}, "rel/1", True),
        ({"branches": ("rel/*",)}, "main", False),
        ({"branches": ("!main",)}, "main", False),
        ({"branches": ("!main",)}, None, False),
        ({"project": "lib-id"}, "main", False),
    ],
)
def test_what_follows_is_what_was_asked_for(
    wanted: dict[str, Any], branch: str | None, follows: bool
) -> None:
    found = followings_of(replace(BUILD, branch=branch), LIB, [listener(**wanted)], lambda: "new")
    assert bool(found) is follows


def test_a_workflow_that_waits_twice_is_built_once_and_ten_follow_in_a_row() -> None:
    waiting = [listener(), listener(workflow="ci"), listener(path="other.yml")]
    build, count = BUILD, 0
    while why_none_follows(build) is None:
        first, second = followings_of(build, LIB, waiting, lambda: "new")
        assert (first.path, second.path) == ("ci.yml", "other.yml")
        build, count = replace(build, event="build", upstream=first.upstream), count + 1
    assert count == 10
