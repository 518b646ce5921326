from __future__ import annotations

import json

import pytest

from coordinator.domain.step_definition import StepDefinition, definition_from_json
from pipelines_schema import CacheFolder, Ending, ImageBuild, Network, Retries, RetryCause
from pipelines_schema import Step as WorkflowStep
from pipelines_schema.workflow import Resources

FULL = StepDefinition(
    written=WorkflowStep(
        name="test (3.11)",
        image="python-312",
        script="pytest",
        depends_on=("lint",),
        env={"A": "1"},
        cache_dirs=(CacheFolder(path="~/.cache/pip", key=("x.lock",)),),
        output_paths=("dist/",),
        timeout_seconds=60,
        retries=Retries(max=2, on=(RetryCause.LOST,)),
        agents={"os": "linux"},
        allow_failure=True,
        run_on=(Ending.SUCCESS, Ending.FAILURE),
        network=Network.NONE,
        resources=Resources(memory_bytes=1 << 30, cpus=1.5),
        secrets=("TOKEN",),
        matrix_values={"python": "3.11"},
    ),
    condition_false=True,
    program=True,
    own_command=True,
    max_lost=1000,
    told=True,
)

OF_THE_FIRST_RELEASES = {
    "conditionFalse": False,
    "image": "python-312",
    "script": "pytest",
    "build": None,
    "env": {"A": "1"},
    "cacheDirs": ["~/.cache/pip"],
    "outputPaths": ["dist/"],
    "timeoutSeconds": 60,
    "matrix": {"python": "3.11"},
    "network": "none",
    "memoryBytes": 1 << 30,
    "cpus": None,
    "secrets": ["TOKEN"],
    "allowFailure": True,
    "runOn": ["success", "failure"],
    "retries": {"max": 2, "on": ["lost"]},
}


def read(stored: object, name: str = "test (3.11)") -> StepDefinition:
    value = json.loads(json.dumps(stored))
    return definition_from_json(value, name=name, depends_on=("lint",), labels={"os": "linux"})


def test_a_definition_is_read_back_from_its_text() -> None:
    assert read(FULL.to_json()) == FULL


def test_what_nobody_asked_for_is_not_stored() -> None:
    plain = StepDefinition(written=WorkflowStep(name="a", image="debian", script="make"))
    assert set(plain.to_json()) == {"version", "written"}


def test_the_flat_form_of_earlier_releases_is_read() -> None:
    found = read(OF_THE_FIRST_RELEASES)
    assert found.written.matrix_values == {"python": "3.11"}
    assert found.written.matrix is None
    assert found.written.build is None
    assert found.written.network is Network.NONE
    assert found.written.run_on == (Ending.SUCCESS, Ending.FAILURE)
    assert found.written.retries == Retries(max=2, on=(RetryCause.LOST,))
    assert (found.written.name, found.written.depends_on) == ("test (3.11)", ("lint",))
    assert found.written.agents == {"os": "linux"}


def test_the_flat_form_of_an_image_and_of_a_deployment_is_read() -> None:
    image = {"tags": ["r.example/a:1"], "push": True}
    retries = {"max": 0, "on": [], "maxLost": 1000}
    ours = {"build": image, "program": True, "ownCommand": True, "retries": retries}
    found = read({**OF_THE_FIRST_RELEASES, **ours})
    assert found.max_lost == 1000
    assert found.written.build == ImageBuild(tags=("r.example/a:1",), push=True)
    assert found.program
    assert found.own_command


def test_a_definition_of_a_later_release_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match="version 9; this release reads 2"):
        read({"version": 9, "written": {}})
