"""What follows for a build when its steps move."""

from __future__ import annotations

import time

import pytest

from coordinator.domain.lifecycle import BuildEvent, StepState
from coordinator.domain.roll_up import StepView, settle


def view(name: str, state: str, *depends_on: str) -> StepView:
    return StepView(id=f"id-{name}", name=name, state=StepState(state), depends_on=depends_on)


def test_a_step_is_unblocked_when_its_last_dependency_succeeds() -> None:
    half = settle([view("a", "succeeded"), view("b", "running"), view("c", "blocked", "a", "b")])
    assert (half.unblocked, half.skipped, half.finished) == ([], {}, None)
    whole = settle([view("a", "succeeded"), view("b", "succeeded"), view("c", "blocked", "a", "b")])
    assert (whole.unblocked, whole.skipped, whole.finished) == (["id-c"], {}, None)


@pytest.mark.parametrize("broken", ["failed", "cancelled", "skipped"])
def test_a_step_is_skipped_as_soon_as_one_dependency_did_not_succeed(broken: str) -> None:
    settled = settle([view("a", broken), view("b", "running"), view("c", "blocked", "b", "a")])
    assert settled.skipped == {"id-c": "a"}
    assert settled.unblocked == []


def test_skipping_goes_down_to_the_last_dependant_whatever_the_order() -> None:
    chain = [view("a", "failed"), *(view(f"s{n}", "blocked", f"s{n - 1}") for n in range(1, 4))]
    steps = [*chain, view("s0", "blocked", "a")]
    for order in (steps, steps[::-1]):
        settled = settle(order)
        assert settled.skipped == {"id-s0": "a", "id-s1": "s0", "id-s2": "s1", "id-s3": "s2"}
        assert settled.finished is BuildEvent.FAIL


def test_what_does_not_depend_on_a_failure_goes_on() -> None:
    settled = settle([view("a", "failed"), view("b", "succeeded"), view("c", "blocked", "b")])
    assert settled.unblocked == ["id-c"]
    assert settled.finished is None


@pytest.mark.parametrize(
    ("states", "event"),
    [
        (["succeeded", "succeeded"], BuildEvent.SUCCEED),
        (["succeeded", "failed"], BuildEvent.FAIL),
        (["failed", "cancelled"], BuildEvent.FAIL),
        (["succeeded", "cancelled"], BuildEvent.CANCEL),
        (["failed", "skipped"], BuildEvent.FAIL),
        (["cancelled", "skipped"], BuildEvent.CANCEL),
    ],
)
def test_a_build_ends_as_its_steps_did(states: list[str], event: BuildEvent) -> None:
    assert settle([view(str(n), state) for n, state in enumerate(states)]).finished is event


@pytest.mark.parametrize("state", ["ready", "offered", "running"])
def test_a_build_is_not_over_while_a_step_is(state: str) -> None:
    assert settle([view("a", "failed"), view("b", state)]).finished is None


def test_the_longest_chain_allowed_is_skipped_in_a_moment() -> None:
    steps = [view(f"s{n}", "blocked", f"s{n - 1}") for n in range(499, 0, -1)]
    started = time.perf_counter()
    assert len(settle([*steps, view("s0", "failed")]).skipped) == 499
    assert time.perf_counter() - started < 1
