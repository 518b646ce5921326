"""What an engine is asked for, by what the coordinator says."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.journal_entries import Entry, Phase
from agent.step_requests import image_request_of
from pipelines_schema.contract import StepSpec
from pipelines_schema.contract_images import ImageBuildSpec


async def settle(tag: str, digest: str) -> str:
    return digest


@pytest.mark.parametrize(("known", "settles"), [(None, False), ({}, True)])
def test_tags_are_settled_with_coordinators_that_keep_them(
    tmp_path: Path, known: dict[str, str] | None, settles: bool
) -> None:
    build = ImageBuildSpec(settled_images=known)
    spec = StepSpec(
        step_id="s",
        epoch=1,
        attempt=1,
        name="s",
        build_id="b",
        build_number=1,
        project_id="p",
        build=build,
        script="",
        timeout_seconds=1,
        token="t",
    )
    entry = Entry(folder=tmp_path, spec=spec, phase=Phase.ACCEPTED)

    assert (image_request_of(entry, build, None, settle).settle_tag is settle) is settles
