"""The tables of states, pair by pair."""

from __future__ import annotations

import itertools

import pytest

from coordinator.domain.lifecycle import (
    BUILD_TABLE,
    FINISHED_BUILD,
    FINISHED_STEP,
    SHOWN_AS,
    STEP_TABLE,
    BuildEvent,
    BuildState,
    IllegalTransition,
    StepEvent,
    StepState,
    advance_build,
    advance_step,
)

STEP_MOVES = """
    blocked unblock ready | blocked skip skipped | blocked cancel cancelled
    blocked resolve resolving | resolving unblock ready | resolving skip skipped
    resolving fail failed | resolving cancel cancelled
    resolving ask waiting | resolving line-up in-line
    ready offer offered | ready claim running | ready cancel cancelled
    offered accept running | offered expire ready | offered cancel cancelled
    running succeed succeeded | running fail failed | running retry ready
    running cancel cancelled | ready give-up failed | ready resume running
    blocked ask waiting | waiting succeed succeeded | waiting fail failed
    waiting give-up failed | waiting cancel cancelled
    blocked line-up in-line | running line-up in-line | in-line place ready
    in-line resume running | in-line cancel cancelled
    running delay delayed | delayed unblock ready | delayed line-up in-line
    delayed resume running | delayed cancel cancelled
    running split blocked | blocked fail failed
    blocked reuse succeeded | resolving reuse succeeded | running reuse succeeded
"""
BUILD_MOVES = """
    held start queued | held cancel cancelled
    queued succeed succeeded | queued begin running | queued fail failed | queued cancel cancelled
    running succeed succeeded | running fail failed | running cancel cancelled
"""


def moves(text: str) -> dict[tuple[str, str], str]:
    parts = (move.split() for line in text.strip().splitlines() for move in line.split("|"))
    return {(state, event): target for state, event, target in parts}


@pytest.mark.parametrize(("state", "event"), list(itertools.product(StepState, StepEvent)))
def test_a_step_moves_as_the_diagram_says_and_not_otherwise(
    state: StepState, event: StepEvent
) -> None:
    target = moves(STEP_MOVES).get((state.value, event.value))
    if target is not None:
        assert advance_step(state, event) is StepState(target)
        return
    with pytest.raises(IllegalTransition) as refused:
        advance_step(state, event)
    assert str(refused.value) == f"a {state.value} step can't {event.value}"
    assert (refused.value.state, refused.value.event) == (state, event)


@pytest.mark.parametrize(("state", "event"), list(itertools.product(BuildState, BuildEvent)))
def test_a_build_moves_as_the_diagram_says_and_not_otherwise(
    state: BuildState, event: BuildEvent
) -> None:
    target = moves(BUILD_MOVES).get((state.value, event.value))
    if target is not None:
        assert advance_build(state, event) is BuildState(target)
        return
    with pytest.raises(IllegalTransition, match=f"a {state.value} build can't {event.value}"):
        advance_build(state, event)


def test_nothing_leaves_a_finished_state() -> None:
    assert not {state for state, _ in STEP_TABLE} & FINISHED_STEP
    assert not {state for state, _ in BUILD_TABLE} & FINISHED_BUILD


def test_every_state_that_is_not_the_first_can_be_reached() -> None:
    assert set(STEP_TABLE.values()) | {StepState.BLOCKED} == set(StepState)
    assert set(BUILD_TABLE.values()) | {BuildState.HELD} == set(BuildState)


def test_every_unfinished_state_can_be_cancelled() -> None:
    assert {state for state, event in STEP_TABLE if event is StepEvent.CANCEL} == (
        set(StepState) - FINISHED_STEP
    )
    assert {state for state, event in BUILD_TABLE if event is BuildEvent.CANCEL} == (
        set(BuildState) - FINISHED_BUILD
    )


def test_an_offered_step_is_shown_as_ready() -> None:
    assert {state.value: shown.value for state, shown in SHOWN_AS.items()} == {
        "blocked": "BLOCKED",
        "waiting": "BLOCKED",
        "in-line": "BLOCKED",
        "resolving": "BLOCKED",
        "delayed": "BLOCKED",
        "ready": "READY",
        "offered": "READY",
        "running": "RUNNING",
        "succeeded": "SUCCESS",
        "failed": "FAILED",
        "cancelled": "CANCELLED",
        "skipped": "SKIPPED",
    }
