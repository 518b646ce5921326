from __future__ import annotations

import json

import pytest

from pipelines_schema import (
    DEFAULT_RETRIES,
    NEVER,
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
    assert [retries.covers(RetryCause.LOST, attempts) for attempts in range(1, 5)] == [
        True, True, False, False,
    ]  # fmt: skip
    assert not retries.covers(RetryCause.FAILURE, 1)


@pytest.mark.parametrize(
    "step",
    [
        Step(name="a", image="x", script="y", retries=DEFAULT_RETRIES),
        Step(name="a", image="x", script="y", retries=NEVER),
        Step(name="a", image="x", script="y", retries=Retries(max=1), queue_timeout_seconds=60),
        Step(name="a", image="x", script="y", at_most_once=True),
    ],
)
def test_what_a_step_says_of_its_attempts_is_read_back(step: Step) -> None:
    assert Step.from_json(step.to_json()) == step


def test_a_stored_0_of_before_it_meant_never_is_what_a_step_had_that_said_nothing() -> None:
    step = Step(name="a", image="x", script="y")
    older = {"max": 0, "on": ["lost", "timeout", "failure"]}
    assert Step.from_json({**step.to_json(), "retries": older}) == step
