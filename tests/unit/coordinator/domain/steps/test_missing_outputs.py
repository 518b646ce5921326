"""Which of the outputs that were named never came."""

from __future__ import annotations

import pytest

from coordinator.domain.steps.missing_outputs import missing_outputs

STORED = {"dist/app.whl", "report.xml"}


@pytest.mark.parametrize("path", ["dist/app.whl", "dist", "dist/", "dist/*.whl", "*.xml", "**"])
def test_what_came_is_not_told(path: str) -> None:
    assert missing_outputs([path], STORED) is None


@pytest.mark.parametrize("path", ["dist/other.whl", "out/", "out/*.js", "dist/app.whl/x"])
def test_what_never_came_is_named(path: str) -> None:
    said = missing_outputs(["dist/", path], STORED)
    assert said is not None
    assert said.startswith(f"never uploaded, so that no step finds it: {path} (PUT ")


def test_of_a_step_that_stored_nothing_everything_is_missing() -> None:
    assert missing_outputs(["*.xml"], ()) is not None
    assert missing_outputs([], ()) is None


def test_a_long_list_is_cut() -> None:
    said = missing_outputs([f"{number}" for number in range(12)], ())
    assert said is not None
    assert "8, 9, … (" in said
