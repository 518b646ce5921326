"""When will a build be done? From history and the graph."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from coordinator.domain.builds.estimates import History, estimated_end, progress_of
from coordinator.domain.lifecycle import StepState
from coordinator.domain.model import Step
from coordinator.domain.step_definition import StepDefinition
from pipelines_schema import DEFAULT_RUN_ON, Ending
from pipelines_schema import Step as WorkflowStep

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def step(
    name: str,
    *depends_on: str,
    state: StepState = StepState.BLOCKED,
    running_for: int | None = None,
    run_on: tuple[Ending, ...] = DEFAULT_RUN_ON,
) -> Step:
    return Step(
        id=f"id of {name}",
        build_id="b",
        project_id="p",
        account_id="a",
        position=0,
        name=name,
        state=StepState.RUNNING if running_for is not None else state,
        definition=StepDefinition(
            written=WorkflowStep(name=name, image="debian", script="make", run_on=run_on)
        ),
        depends_on=depends_on,
        labels={},
        epoch=0,
        attempt=0,
        lost_count=0,
        holder=None,
        lease_seconds=None,
        started_at=None if running_for is None else NOW - timedelta(seconds=running_for),
    )


def took(**seconds: int | list[int]) -> History:
    return {
        name: [timedelta(seconds=one) for one in (given if isinstance(given, list) else [given])]
        for name, given in seconds.items()
    }


def left(steps: list[Step], history: History) -> float | None:
    end = estimated_end(steps, history, NOW)
    return None if end is None else (end - NOW).total_seconds()


def test_a_chain_takes_as_long_as_its_steps_together() -> None:
    steps = [step("a", state=StepState.READY), step("b", "a"), step("c", "b")]
    assert left(steps, took(a=10, b=20, c=30)) == 60


def test_side_by_side_the_longest_way_counts() -> None:
    steps = [
        step("a", state=StepState.READY),
        step("short", "a"),
        step("long", "a"),
        step("end", "short", "long"),
    ]
    assert left(steps, took(a=10, short=5, long=100, end=1)) == 111


def test_what_a_running_step_has_used_is_taken_off() -> None:
    steps = [step("a", running_for=7), step("b", "a")]
    assert left(steps, took(a=10, b=20)) == 23


def test_a_step_that_takes_longer_than_usual_is_expected_to_end_now() -> None:
    steps = [step("a", running_for=700), step("b", "a")]
    assert left(steps, took(a=10, b=20)) == 20


def test_finished_steps_count_no_more() -> None:
    steps = [step("a", state=StepState.SUCCEEDED), step("b", "a", state=StepState.READY)]
    assert left(steps, took(b=20)) == 20


def test_the_median_of_what_a_step_took_is_what_it_usually_takes() -> None:
    steps = [step("a", state=StepState.READY)]
    assert left(steps, took(a=[10, 500, 12])) == 12
    assert left(steps, took(a=[10, 20])) == 15


@pytest.mark.parametrize("history", [took(), took(a=10), took(b=10)])
def test_without_history_of_a_step_there_is_no_estimate(history: History) -> None:
    assert left([step("a", state=StepState.READY), step("b", "a")], history) is None


def test_nothing_left_has_no_estimate() -> None:
    assert left([], took(a=1)) is None
    assert left([step("a", state=StepState.FAILED), step("b", "a")], took(a=1, b=1)) is None


def test_steps_that_wait_for_a_failure_are_left_out_until_there_is_one() -> None:
    mourner = step("mourn", "a", run_on=(Ending.FAILURE,))
    after = step("after mourning", "mourn")
    running = [step("a", running_for=0), mourner, after]
    assert left(running, took(a=10)) == 10
    failed = [step("a", state=StepState.FAILED), mourner, after]
    history = {**took(mourn=3), "after mourning": [timedelta(seconds=4)]}
    assert left(failed, history) == 7, "once it failed, they run"


def test_a_long_chain_is_worked_out() -> None:
    names = [f"s{n}" for n in range(200)]
    steps = [step("s0", state=StepState.READY)]
    steps += [step(name, before) for before, name in pairwise(names)]
    assert left(steps, {name: [timedelta(seconds=1)] for name in names}) == 200


def test_progress_counts_the_steps_that_have_run_to_their_end() -> None:
    ended = [StepState.SUCCEEDED, StepState.FAILED]
    states = [*ended, StepState.SKIPPED, StepState.CANCELLED, StepState.RUNNING]
    steps = [step(f"s{n}", state=state) for n, state in enumerate(states)]
    progress = progress_of(steps, succeeded=False)
    assert (progress.current_step, progress.total_steps, progress.percentage) == (2, 5, 40)
    steps[3] = replace(steps[3], started_at=NOW)
    assert progress_of(steps, succeeded=False).current_step == 3
    assert progress_of([], succeeded=False).percentage == 0


def test_a_build_that_succeeded_is_all_done_whatever_was_skipped() -> None:
    steps = [step("a", state=StepState.SUCCEEDED), step("b", state=StepState.SKIPPED)]
    progress = progress_of(steps, succeeded=True)
    assert (progress.current_step, progress.total_steps, progress.percentage) == (1, 2, 100)
