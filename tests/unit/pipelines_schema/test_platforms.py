"""Platforms of images, by all the names that they have."""

from __future__ import annotations

import pytest

from pipelines_schema.image_references import repository_of
from pipelines_schema.platforms import (
    needed_platform,
    part_capabilities,
    plain_platform,
    platform_need,
    runs,
)


@pytest.mark.parametrize(
    ("written", "plain"),
    [
        ("linux/amd64", "linux/amd64"),
        ("linux/amd64/v1", "linux/amd64"),
        ("linux/amd64/v3", "linux/amd64/v3"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/aarch64", "linux/arm64"),
        ("linux/x86_64", "linux/amd64"),
        ("linux/arm", "linux/arm/v7"),
        ("linux/arm/v6", "linux/arm/v6"),
    ],
)
def test_a_platform_has_one_name(written: str, plain: str) -> None:
    assert plain_platform(written) == plain
    assert runs([plain], written)
    assert needed_platform(platform_need(written)) == plain


def test_an_agent_names_what_its_engine_runs_once() -> None:
    names = ["linux/amd64", "linux/amd64/v1", "linux/arm64"]
    assert part_capabilities(names) == (
        "imageParts",
        "platform:linux/amd64",
        "platform:linux/arm64",
    )
    assert part_capabilities([]) == ()
    assert needed_platform("imageParts") is None


@pytest.mark.parametrize(
    ("reference", "repository"),
    [
        ("r.example/a/b:1", "r.example/a/b"),
        ("r.example:5000/a", "r.example:5000/a"),
        ("r.example:5000/a:1@sha256:abc", "r.example:5000/a"),
        ("r.example:5000/a@sha256:abc", "r.example:5000/a"),
    ],
)
def test_a_reference_has_a_repository(reference: str, repository: str) -> None:
    assert repository_of(reference) == repository
