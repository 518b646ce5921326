from __future__ import annotations

import json

import pytest

from pipelines_schema import (
    PushTrigger,
    Retries,
    RetryCause,
    Step,
    Triggers,
    UnreadableWorkflow,
    Workflow,
)

WORKFLOW = Workflow(
    name="ci",
    file=".pushrod.yml",
    triggers=Triggers(push=PushTrigger(branches=("main",))),
    env={"A": "1"},
    steps=(
        Step(
            name="test",
            image="python-312",
            script="pytest",
            retries=Retries(max=2, on=(RetryCause.LOST,)),
        ),
    ),
)


def test_the_stored_form_is_fixed() -> None:
    assert WORKFLOW.to_json() == {
        "version": 1,
        "name": "ci",
        "file": ".pushrod.yml",
        "triggers": {"push": {"branches": ["main"]}},
        "env": {"A": "1"},
        "steps": [
            {
                "name": "test",
                "image": "python-312",
                "script": "pytest",
                "dependsOn": [],
                "env": {},
                "cacheDirs": [],
                "outputPaths": [],
                "timeoutSeconds": 3600,
                "retries": {"max": 2, "on": ["lost"]},
                "agents": {},
            }
        ],
    }


def test_a_stored_workflow_is_read_back_from_its_text() -> None:
    assert Workflow.from_json(json.loads(json.dumps(WORKFLOW.to_json()))) == WORKFLOW


@pytest.mark.parametrize("version", [None, 0, 2, "1"])
def test_a_workflow_of_another_version_is_not_guessed_at(version: object) -> None:
    with pytest.raises(UnreadableWorkflow):
        Workflow.from_json({**WORKFLOW.to_json(), "version": version})


def test_retries_cover_their_causes_until_they_are_used_up() -> None:
    retries = Retries(max=2, on=(RetryCause.LOST, RetryCause.TIMEOUT))
    assert [retries.covers(RetryCause.LOST, done) for done in range(4)] == [
        True, True, False, False,
    ]  # fmt: skip
    assert not retries.covers(RetryCause.FAILURE, 0)
