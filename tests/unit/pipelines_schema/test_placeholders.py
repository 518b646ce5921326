"""What `${{ … }}` becomes outside scripts."""

from __future__ import annotations

import pytest

from pipelines_schema import ImageBuild
from pipelines_schema.image_references import tag_problem
from pipelines_schema.placeholders import empty_word, filled_image, filled_reference

IMAGE = "registry.example/app:"


@pytest.mark.parametrize(
    ("image", "values", "filled"),
    [
        ("a:${{ branch }}", {"branch": "feature/x:1@sha256:0"}, "a:feature-x-1-sha256-0"),
        ("a:${{ branch }}", {"branch": "ä b"}, "a:_-b"),
        ("a:v${{ tag }}-${{ sha }}", {"tag": "x/" * 99, "sha": "5" * 40}, None),
        (
            "${{ matrix.image }}:${{ tag }}",
            {"matrix.image": "r:5000/a/b", "tag": "/"},
            "r:5000/a/b:_",
        ),
        ("a:${{ matrix.x }}-${{ branch }}", {"matrix.x": "5000/b"}, "a:5000-b-${{ branch }}"),
        ("${{ matrix.image }}", {"matrix.image": "r.example/a:1"}, "r.example/a:1"),
        ("${{ outputs.plan.image }}", {"sha": "1"}, "${{ outputs.plan.image }}"),
    ],
)
def test_an_image_has_what_outsiders_name_in_its_tag_alone(
    image: str, values: dict[str, str], filled: str | None
) -> None:
    result = filled_image(image, values)
    if filled is None:
        assert len(result) == len("a:") + 128
        assert result.endswith(values["sha"])
    else:
        assert result == filled


@pytest.mark.parametrize("branch", ["..", "-rf", "x" * 500, "a@b", "'; rm -rf /", "é" * 200])
def test_whatever_a_branch_is_called_its_tag_is_one(branch: str) -> None:
    assert tag_problem(filled_reference(IMAGE + "${{ branch }}", {"branch": branch})) is None


def test_only_the_workflows_own_variables_change_where_a_tag_goes() -> None:
    reference = "${{ env.REGISTRY }}/${{ matrix.name }}:${{ env.V }}"
    values = {"env.REGISTRY": "r:5000", "matrix.name": "evil.example/x", "env.V": "1/2"}
    assert filled_reference(reference, values) == "r:5000/evil.example-x:1-2"


@pytest.mark.parametrize(
    ("reference", "values", "word"),
    [
        ("${{ env.A }}", {"env.A": ""}, "env.A"),
        ("a:${{ env.A }}", {"env.A": ""}, "env.A"),
        ("a:1${{ env.A }}", {"env.A": ""}, None),
        ("a:1${{ tag }}", {"tag": ""}, "tag"),
        ("a:1${{ tag }}", {"tag": "2"}, None),
        ("${{ env.R }}/a:1", {"env.R": ""}, "env.R"),
    ],
)
def test_a_reference_that_lacks_a_value_names_its_word(
    reference: str, values: dict[str, str], word: str | None
) -> None:
    assert empty_word(reference, values) == word


def test_a_tag_without_a_value_is_left_out_and_without_tags_nothing_is_pushed() -> None:
    build = ImageBuild(tags=(IMAGE + "${{ tag }}", IMAGE + "${{ branch }}"), push=True)

    of_branch = build.with_values({"tag": "", "branch": "main"})
    of_neither = build.with_values({"tag": "", "branch": ""})

    assert (of_branch.tags, of_branch.push) == ((IMAGE + "main",), True)
    assert (of_neither.tags, of_neither.push) == ((), False)
