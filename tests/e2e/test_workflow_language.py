"""What a workflow can say, through the real path: push, coordinator, agent, both engines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import TestEngine
from tests.e2e.processes import Pushrod, Repository, running, step_named
from tests.e2e.test_main_job import ENGINES, workflow


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    if request.param == "host":
        return "host"
    return str(request.getfixturevalue("buildkit").address)


@pytest.fixture(scope="module")
def image(engine: str, request: pytest.FixtureRequest) -> str:
    """The host engine ignores it."""
    if engine == "host":
        return "any"
    buildkit: TestEngine = request.getfixturevalue("buildkit")
    return buildkit.image


@pytest.fixture(scope="module")
def pushrod(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pushrod]:
    with running(tmp_path_factory.mktemp("pushrod"), engine) as pushrod:
        yield pushrod


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository.create(tmp_path / "repository")


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


def test_a_matrix_runs_each_combination_and_its_dependant_after_all(
    pushrod: Pushrod, repository: Repository, image: str
) -> None:
    script = "${{ matrix.python }} $PUSHROD_MATRIX_PYTHON $WHERE"
    text = workflow(
        image,
        f'name: test\nrun: echo {script} > "$PUSHROD_MATRIX_OS.txt"\n'
        'matrix: {python: [3.10, "3.12"], os: [a, b], exclude: [{python: 3.10, os: b}]}\n'
        'env: {WHERE: "on ${{ matrix.os }}"}\n'
        'outputPaths: ["*.txt"]',
        "name: join\ndependsOn: test\nrun: cat b.txt; echo ${{ build.number }} ${{ sha }}",
    )
    build = built(pushrod, repository, "matrix", text)
    assert build["state"] == "succeeded", build
    names = ["test (3.10, a)", "test (3.12, a)", "test (3.12, b)"]
    assert list(statuses(build)) == [*names, "join"]
    join = step_named(build, "join")
    assert join["dependsOn"] == names
    expected = f"3.12 3.12 on b\n1 {build['commitHash']}\n"
    assert pushrod.api.log(join["id"]).decode() == expected
