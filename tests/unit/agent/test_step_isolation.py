"""By what name the agent keeps attempts apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.journal_entries import Entry, Phase
from agent.step_requests import request_of
from pipelines_schema.contract import StepSpec


@pytest.mark.parametrize(("told", "kept_apart_as"), [("p-1/fork", "p-1/fork"), (None, "p-1")])
def test_attempts_are_kept_apart_as_told_and_by_older_coordinators_by_project(
    tmp_path: Path, told: str | None, kept_apart_as: str
) -> None:
    spec = StepSpec(
        step_id="s",
        epoch=1,
        attempt=1,
        name="s",
        build_id="b",
        build_number=1,
        project_id="p-1",
        isolation=told,
        script="true",
        timeout_seconds=1,
        token="t",
    )
    entry = Entry(folder=tmp_path, spec=spec, phase=Phase.ACCEPTED)
    assert request_of(entry, None).isolation == kept_apart_as
