from __future__ import annotations

from typing import Any

import pytest

from pushrod.local.gates import going_on
from pushrod.local.live_view import LiveView


def step(name: str, status: str, *depends_on: str, **more: Any) -> dict[str, Any]:
    return {"id": f"id-{name}", "name": name, "status": status, "dependsOn": depends_on} | more


def test_what_is_behind_a_closed_gate_goes_on_no_more() -> None:
    steps = [
        step("publish", "BLOCKED", "deploy"),
        step("deploy", "BLOCKED", "release"),
        step("release", "BLOCKED"),
        step("unit", "SUCCESS"),
    ]
    assert going_on({"steps": steps}, {"id-release"}) == []


@pytest.mark.parametrize("status", ["RUNNING", "READY", "BLOCKED"])
def test_what_is_beside_it_does(status: str) -> None:
    steps = [step("release", "BLOCKED"), step("lint", status), step("docs", "BLOCKED", "lint")]
    assert going_on({"steps": steps}, {"id-release"}) == ["lint", "docs"]


def test_a_step_that_waits_for_both_is_stuck() -> None:
    steps = [
        step("release", "BLOCKED"),
        step("lint", "RUNNING"),
        step("b", "BLOCKED", "lint", "release"),
    ]
    assert going_on({"steps": steps}, {"id-release"}) == ["lint"]


def test_the_status_line_says_what_runs_for_how_long_and_how_much_is_done(
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    now = 100.0
    view = LiveView(["lint", "unit", "docs"], clock=lambda: now, width=80)
    view.step_changed(step("lint", "RUNNING", attempt=1))
    view.step_changed(step("docs", "SUCCESS", attempt=1))
    now = 112.4
    assert view.status_line().endswith("lint 12 s - 1 of 3 done")
    view.step_changed(step("lint", "SUCCESS", attempt=1))
    assert "waiting - 2 of 3 done" in view.status_line()


def test_the_status_line_is_cut_to_the_terminal() -> None:
    view = LiveView(["a" * 200], width=40)
    view.step_changed(step("a" * 200, "RUNNING", attempt=1))
    assert len(view.status_line()) == 39
