"""What `pushrod artifact` says of what is gone."""

from __future__ import annotations

from pushrod.commands.artifact import gone_lines

GONE = {"path": "out", "keptSeconds": 60, "goneAt": "2026-03-01T10:00:00Z"}


def test_each_path_that_went_is_told_with_its_step() -> None:
    steps = [{"name": "make", "goneOutputs": [GONE]}, {"name": "other"}]
    assert gone_lines({}, steps) == ["make: out was deleted on 2026-03-01, as its keep says"]


def test_what_the_projects_limits_took_is_told_of_the_build() -> None:
    build = {"artifactsGoneAt": "2026-03-02T10:00:00Z"}
    assert gone_lines(build, [{"name": "make"}]) == [
        "artifacts were deleted on 2026-03-02, as the limits of retention say"
    ]
    assert gone_lines({}, [{"name": "make"}]) == []
