"""What is told of a step, state by state."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from coordinator.domain.lifecycle import BuildState, StepState
from coordinator.domain.model import Build, Step
from coordinator.domain.outbox.messages import Status
from coordinator.domain.outbox.step_facts import facts_of_gates, facts_of_step
from coordinator.domain.step_definition import StepDefinition
from pipelines_schema import Approver, Gate
from pipelines_schema import Step as WorkflowStep

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
BUILD = Build(
    id="b",
    project_id="p",
    account_id="a",
    workflow_id=None,
    workflow_name="ci",
    number=7,
    state=BuildState.RUNNING,
    event="push",
    version=1,
    commit_hash="a" * 40,
    created_at=NOW,
    updated_at=NOW,
)


def step(name: str = "test", *, written: dict[str, Any] | None = None, **more: Any) -> Step:
    return Step(
        **{
            "id": name,
            "build_id": "b",
            "project_id": "p",
            "account_id": "a",
            "position": 0,
            "name": name,
            "state": StepState.BLOCKED,
            "definition": StepDefinition(
                written=WorkflowStep(name=name, image="debian", script="make", **(written or {}))
            ),
            "depends_on": (),
            "labels": {},
            "epoch": 0,
            "attempt": 0,
            "lost_count": 0,
            "holder": None,
            "lease_seconds": None,
            **more,
        }
    )


def gate(name: str, by: Approver) -> Step:
    written = {"approve": Gate(message=None, by=by, expires_seconds=60)}
    return step(name, written=written, state=StepState.WAITING)


@pytest.mark.parametrize(
    ("state", "more", "status", "words"),
    [
        ("blocked", {}, Status.PENDING, "queued"),
        (
            "ready",
            {"attempt": 1, "reason": "agent lost"},
            Status.PENDING,
            "waits for another attempt, after agent lost",
        ),
        ("running", {"attempt": 1}, Status.RUNNING, "running"),
        ("running", {"attempt": 3}, Status.RUNNING, "running, attempt 3"),
        (
            "succeeded",
            {"started_at": NOW, "finished_at": NOW + timedelta(seconds=65)},
            Status.SUCCESS,
            "succeeded in 65s",
        ),
        ("failed", {"reason": "exit code 3"}, Status.FAILURE, "failed: exit code 3"),
        (
            "failed",
            {"reason": "image", "message": "no such\nimage"},
            Status.FAILURE,
            "failed: image: no such image",
        ),
        (
            "failed",
            {"reason": "exit code 3", "written": {"allow_failure": True}},
            Status.FAILURE,
            "failed: exit code 3 (allowed)",
        ),
        ("skipped", {"reason": "condition false"}, Status.SUCCESS, "skipped: condition false"),
        ("cancelled", {"reason": "cancelled by anna"}, Status.CANCELLED, "cancelled by anna"),
    ],
)
def test_each_state_has_its_status_and_words(
    state: str, more: dict[str, Any], status: Status, words: str
) -> None:
    facts = facts_of_step(BUILD, step(state=StepState(state), **more))
    assert (facts.status, facts.words) == (status, words)
    assert facts.context == "pushrod/ci/push: test"


def test_of_several_gates_the_last_to_ask_is_named_and_a_fork_lowers_no_role() -> None:
    gates = [gate("one", Approver.ADMIN), gate("two", Approver.DEVELOPER)]
    facts = facts_of_gates(BUILD, gates)
    assert (facts.status, facts.gate) == (Status.WAITING, "two")
    assert facts.words == "two waits for an approval by a developer, and 1 more"
    assert facts.context == "pushrod/ci/push"
    outside = replace(BUILD, outside=True)
    assert "by a maintainer" in facts_of_gates(outside, gates[1:]).words
