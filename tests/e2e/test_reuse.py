"""The example of shared templates, and the same from another project: pushed for real."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.processes import Pushrod, Repository, running

EXAMPLE = Path(__file__).parents[2] / "examples" / "shared-templates"
INCLUDE = "  - ci/templates.yml\n"


@pytest.fixture
def pushrod(tmp_path: Path) -> Iterator[Pushrod]:
    with running(tmp_path / "pushrod") as pushrod:
        yield pushrod


@pytest.fixture
def example(tmp_path: Path) -> Repository:
    repository = Repository.create(tmp_path / "example")
    shutil.copytree(EXAMPLE, repository.path, dirs_exist_ok=True)
    return repository


def pushed(pushrod: Pushrod, repository: Repository, name: str) -> dict[str, str]:
    project = pushrod.create_project(name)
    repository.commit("change")
    repository.push(project["pushUrl"], pushrod.api.token, check=True)
    return project


def test_the_example_runs_as_it_stands(pushrod: Pushrod, example: Repository) -> None:
    project = pushed(pushrod, example, "example")
    build = pushrod.api.wait_finished(str(pushrod.api.builds(project["id"])[0]["id"]))
    assert build["state"] == "succeeded"
    said = {step["name"]: pushrod.api.log(step["id"]).decode() for step in build["steps"]}
    assert said["lint"] == "python3 -m compileall -q words.py: fine\n"
    assert said["test (lines.py)"] == "python3 -m doctest lines.py: fine\n"
    assert said["count"].endswith(" words\n")


def test_the_same_templates_are_taken_from_another_project(
    pushrod: Pushrod, example: Repository, tmp_path: Path
) -> None:
    shared = Repository.create(tmp_path / "shared")
    (example.path / "ci/templates.yml").rename(shared.path / "templates.yml")
    pushed(pushrod, shared, "shared-ci")
    workflow = example.path / ".pushrod/ci.yml"
    text = workflow.read_text(encoding="utf-8")
    assert INCLUDE in text
    of_project = "  - {project: shared-ci, file: templates.yml}\n"
    workflow.write_text(text.replace(INCLUDE, of_project), encoding="utf-8")
    project = pushed(pushrod, example, "example")
    build = pushrod.api.wait_finished(str(pushrod.api.builds(project["id"])[0]["id"]))
    assert build["state"] == "succeeded"
    (include,) = build["includes"]
    assert (include["project"], len(include["sha"])) == ("shared-ci", 40)
