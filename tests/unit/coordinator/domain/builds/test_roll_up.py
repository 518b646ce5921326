"""What follows for a build when its steps move."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest

from coordinator.domain.builds.roll_up import StepView, settle
from coordinator.domain.lifecycle import BuildEvent, StepState
from pipelines_schema import DEFAULT_RUN_ON, Ending

ALWAYS = (Ending.SUCCESS, Ending.FAILURE)
ON_FAILURE = (Ending.FAILURE,)


def view(
    name: str,
    state: str,
    *depends_on: str,
    allow_failure: bool = False,
    run_on: Sequence[Ending] = DEFAULT_RUN_ON,
    begun: bool = False,
    parts: Sequence[str] = (),
    is_part: bool = False,
) -> StepView:
    return StepView(
        id=f"id-{name}",
        name=name,
        state=StepState(state),
        depends_on=depends_on,
        allow_failure=allow_failure,
        run_on=run_on,
        begun=begun,
        parts=parts,
        is_part=is_part,
    )


RUNS, SKIPPED, WAITS = "runs", "skipped", "waits"


@pytest.mark.parametrize(
    ("first", "second", "default", "on_failure", "always"),
    [
        ("succeeded", "succeeded", RUNS, SKIPPED, RUNS),
        ("succeeded", "failed", SKIPPED, RUNS, RUNS),
        ("failed", "failed", SKIPPED, RUNS, RUNS),
        ("succeeded", "skipped", SKIPPED, SKIPPED, RUNS),
        ("failed", "skipped", SKIPPED, RUNS, RUNS),
        ("succeeded", "cancelled", SKIPPED, SKIPPED, SKIPPED),
        ("failed", "cancelled", SKIPPED, SKIPPED, SKIPPED),
        ("succeeded", "running", WAITS, WAITS, WAITS),
        ("failed", "running", SKIPPED, WAITS, WAITS),
        ("failed", "ready", SKIPPED, WAITS, WAITS),
    ],
)
def test_a_step_runs_after_the_endings_that_it_names(
    first: str, second: str, default: str, on_failure: str, always: str
) -> None:
    for run_on, expected in (
        (DEFAULT_RUN_ON, default),
        (ON_FAILURE, on_failure),
        (ALWAYS, always),
    ):
        after = view("after", "blocked", "a", "b", run_on=run_on)
        for one, other in ((first, second), (second, first)):
            settled = settle([view("a", one), view("b", other), after])
            found = RUNS if settled.unblocked else SKIPPED if settled.skipped else WAITS
            assert found == expected, (one, other, run_on)


def test_a_failure_that_is_allowed_counts_as_success_for_dependants_and_build() -> None:
    lint = view("lint", "failed", allow_failure=True)
    settled = settle([lint, view("test", "blocked", "lint")])
    assert settled.unblocked == ["id-test"]
    assert settle([lint, view("test", "succeeded", "lint")]).finished is BuildEvent.SUCCEED
    notify = view("notify", "blocked", "lint", run_on=ON_FAILURE)
    assert settle([lint, notify]).skipped == {"id-notify": "no dependency failed"}
    assert settle([lint, notify]).finished is BuildEvent.SUCCEED


@pytest.mark.parametrize(
    ("first", "second", "becomes"),
    [
        ("running", "succeeded", "waits"),
        ("succeeded", "succeeded", "runs"),
        ("running", "failed", "failed"),
        ("succeeded", "failed", "failed"),
        ("succeeded", "cancelled", "cancelled"),
        ("ready", "cancelled", "cancelled"),
    ],
)
@pytest.mark.parametrize("run_on", [DEFAULT_RUN_ON, ON_FAILURE, ALWAYS])
@pytest.mark.parametrize("allowed", [False, True])
def test_a_step_ends_as_the_parts_of_its_image_do(
    first: str, second: str, becomes: str, run_on: Sequence[Ending], allowed: bool
) -> None:
    parts = [
        view(name, state, "before", allow_failure=allowed, is_part=True)
        for name, state in (("a", first), ("b", second))
    ]
    # What it depended on when it began is no matter any more.
    before = view("before", "failed" if run_on == ON_FAILURE else "succeeded")
    whole = view("image", "blocked", "before", "a", "b", run_on=run_on, parts=["a", "b"])
    after = view("after", "blocked", "image")
    settled = settle([before, whole, after, *parts])
    assert (settled.unblocked, dict(settled.failed), dict(settled.cancelled)) == (
        ["id-image"] if becomes == "runs" else [],
        {"id-image": "b"} if becomes == "failed" else {},
        {"id-image": "b"} if becomes == "cancelled" else {},
    )
    assert bool(settled.skipped) is (becomes in ("failed", "cancelled"))


def test_a_failure_further_up_counts_through_the_steps_skipped_for_it() -> None:
    steps = [
        view("test", "failed"),
        view("deploy", "blocked", "test"),
        view("notify", "blocked", "deploy", run_on=ON_FAILURE),
    ]
    settled = settle(steps)
    assert (settled.unblocked, list(settled.skipped)) == (["id-notify"], ["id-deploy"])
    assert settled.finished is None


def test_a_build_whose_always_step_succeeds_has_failed_all_the_same() -> None:
    steps = [view("test", "failed"), view("clean up", "succeeded", "test", run_on=ALWAYS)]
    assert settle(steps).finished is BuildEvent.FAIL


def test_a_step_is_unblocked_when_its_last_dependency_succeeds() -> None:
    half = settle([view("a", "succeeded"), view("b", "running"), view("c", "blocked", "a", "b")])
    assert (half.unblocked, half.skipped, half.finished) == ([], {}, None)
    whole = settle([view("a", "succeeded"), view("b", "succeeded"), view("c", "blocked", "a", "b")])
    assert (whole.unblocked, whole.skipped, whole.finished) == (["id-c"], {}, None)


@pytest.mark.parametrize("broken", ["failed", "cancelled", "skipped"])
def test_a_step_is_skipped_as_soon_as_one_dependency_did_not_succeed(broken: str) -> None:
    settled = settle([view("a", broken), view("b", "running"), view("c", "blocked", "b", "a")])
    assert settled.skipped == {"id-c": "dependency did not succeed: a"}
    assert settled.unblocked == []


def test_skipping_goes_down_to_the_last_dependant_whatever_the_order() -> None:
    chain = [view("a", "failed"), *(view(f"s{n}", "blocked", f"s{n - 1}") for n in range(1, 4))]
    steps = [*chain, view("s0", "blocked", "a")]
    for order in (steps, steps[::-1]):
        settled = settle(order)
        assert settled.skipped == {
            f"id-{name}": f"dependency did not succeed: {before}"
            for name, before in (("s0", "a"), ("s1", "s0"), ("s2", "s1"), ("s3", "s2"))
        }
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
        (["failed", "cancelled"], BuildEvent.CANCEL),
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
    started = time.process_time()
    assert len(settle([*steps, view("s0", "failed")]).skipped) == 499
    assert time.process_time() - started < 1


@pytest.mark.parametrize(
    ("first", "second", "run_on", "reason"),
    [
        ("cancelled", "succeeded", (Ending.CANCELLED,), None),
        ("cancelled", "failed", (Ending.CANCELLED,), None),
        ("cancelled", "cancelled", tuple(Ending), None),
        ("succeeded", "succeeded", (Ending.CANCELLED,), "no dependency was cancelled"),
        ("succeeded", "failed", (Ending.CANCELLED,), "no dependency was cancelled"),
        (
            "succeeded",
            "succeeded",
            (Ending.FAILURE, Ending.CANCELLED),
            "no dependency failed or was cancelled",
        ),
        (
            "succeeded",
            "failed",
            (Ending.SUCCESS, Ending.CANCELLED),
            "dependency did not succeed: b",
        ),
        ("succeeded", "failed", tuple(Ending), None),
    ],
)
def test_a_step_for_after_a_cancel_runs_if_a_dependency_had_begun(
    first: str, second: str, run_on: Sequence[Ending], reason: str | None
) -> None:
    after = view("after", "blocked", "a", "b", run_on=run_on)
    settled = settle([view("a", first, begun=True), view("b", second), after])
    assert settled.skipped == ({} if reason is None else {"id-after": reason})
    assert settled.unblocked == (["id-after"] if reason is None else [])


def test_a_step_for_after_a_cancel_does_not_run_where_nothing_had_begun() -> None:
    after = view("after", "blocked", "a", run_on=tuple(Ending))
    settled = settle([view("a", "cancelled"), after])
    assert settled.skipped == {"id-after": "dependency was cancelled: a"}
    assert settled.finished is BuildEvent.CANCEL
