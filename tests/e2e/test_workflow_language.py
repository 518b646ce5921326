"""What a workflow can say, through the real path: push, coordinator, agent, both engines."""

from __future__ import annotations

from typing import Any

from tests.e2e.processes import Pushrod, Repository, step_named
from tests.e2e.test_main_job import (  # noqa: F401 - fixtures: one pushrod per engine
    engine,
    image,
    pushrod,
    repository,
    workflow,
)


def built(pushrod: Pushrod, repository: Repository, name: str, text: str) -> dict[str, Any]:
    """The finished build of a pushed workflow, in a project of its own."""
    project = pushrod.create_project(name)
    return pushrod.api.wait_finished(pushrod.push_workflow(repository, project, text)["id"])


def statuses(build: dict[str, Any]) -> dict[str, str]:
    return {step["name"]: step["status"] for step in build["steps"]}


def test_a_failure_that_is_allowed_stops_nothing(
    pushrod: Pushrod, repository: Repository, image: str
) -> None:
    text = workflow(
        image,
        "name: lint\nrun: echo bad > lint.txt; exit 3\nallowFailure: true\noutputPaths: [lint.txt]",
        "name: test\ndependsOn: [lint]\nrun: cat lint.txt",
        "name: never\ndependsOn: [lint]\nrunOn: failure\nrun: echo never",
    )
    build = built(pushrod, repository, "allowed", text)
    assert build["state"] == "succeeded", build
    assert statuses(build) == {"lint": "FAILED", "test": "SUCCESS", "never": "SKIPPED"}
    assert step_named(build, "lint")["exitCode"] == 3
    assert pushrod.api.log(step_named(build, "test")["id"]) == b"bad\n"


def test_steps_run_after_the_endings_that_they_name(
    pushrod: Pushrod, repository: Repository, image: str
) -> None:
    text = workflow(
        image,
        "name: test\nrun: exit 1",
        "name: deploy\ndependsOn: test\nrun: echo never",
        "name: notify\ndependsOn: deploy\nrunOn: [failure]\nrun: echo told",
        "name: clean up\ndependsOn: [test, notify]\nrunOn: [success, failure]\nrun: echo clean",
    )
    build = built(pushrod, repository, "endings", text)
    assert build["state"] == "failed"
    assert statuses(build) == {
        "test": "FAILED",
        "deploy": "SKIPPED",
        "notify": "SUCCESS",
        "clean up": "SUCCESS",
    }
    assert step_named(build, "deploy")["reason"] == "dependency did not succeed: test"
