"""Which references an image can be pushed to."""

from __future__ import annotations

import pytest

from pipelines_schema import ImageBuild
from pipelines_schema.image_references import fit_for_tag, registry_of, tag_problem


@pytest.mark.parametrize(
    "text",
    ["registry.example/a:1", "localhost/a:1", "h:5000/a/b-c/d_e:v1.2_x-y", "127.0.0.1:5000/a:A"],
)
def test_a_whole_reference_is_good(text: str) -> None:
    assert tag_problem(text) is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a:1", "names no registry"),
        ("team/a:1", "names no registry"),
        ("registry.example/a", "has no tag"),
        ("registry.example/A:1", "small letters"),
        ("registry.example/a/../b:1", "is no reference"),
        ("registry.example/a:", "impossible tag"),
        ("registry.example/a:b/c", "impossible tag"),
        ("registry.example/a:1@sha256:00", "names a digest"),
        ("registry.example:x/a:1", "is no host"),
        ("regi stry.example/a:1", "is no host"),
        (f"registry.example/{'a' * 300}:1", "is no reference"),
    ],
)
def test_what_is_not_whole_is_told(text: str, problem: str) -> None:
    assert problem in (tag_problem(text) or "")


def test_a_value_cant_change_where_a_tag_goes() -> None:
    assert fit_for_tag("evil.example/x:1@sha256:0 \n'") == "evil.example-x-1-sha256-0---"
    build = ImageBuild(tags=("r.example/a:${{ x }}",), args={"X": "${{ x }}"}, push=True)

    filled = build.with_values({"x": "b/c:d"})

    assert filled.tags == ("r.example/a:b-c-d",)
    assert filled.args == {"X": "b/c:d"}


def test_tags_that_become_the_same_are_one() -> None:
    build = ImageBuild(tags=("r.example/a:${{ x }}", "r.example/a:1"), push=True)

    assert build.with_values({"x": "1"}).tags == ("r.example/a:1",)


@pytest.mark.parametrize(
    ("reference", "host"),
    [
        ("python:3.12", "docker.io"),
        ("team/app", "docker.io"),
        ("Registry.Example:5000/a", "registry.example:5000"),
        ("localhost/a", "localhost"),
    ],
)
def test_the_registry_of_a_reference_is_known(reference: str, host: str) -> None:
    assert registry_of(reference) == host


def test_only_tags_and_push_are_needed_in_json() -> None:
    assert ImageBuild.from_json({"tags": ["r.example/a:1"], "push": True}) == ImageBuild(
        tags=("r.example/a:1",), push=True
    )
