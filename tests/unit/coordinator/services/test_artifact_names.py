"""Which names an artifact may have."""

from __future__ import annotations

import pytest

from coordinator.domain.errors import Invalid
from coordinator.services.outputs.artifacts import MAX_NAME_BYTES, checked_name


@pytest.mark.parametrize("name", ["a", "dist/app.whl", "a b/ü/日本", "..a", "a..", "-x", "[1]{2}#"])
def test_a_plain_path_below_the_workspace_is_taken_as_it_is(name: str) -> None:
    assert checked_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../x",
        "a/../b",
        "a/..",
        "/etc/passwd",
        "//x",
        "a//b",
        "a/",
        "./a",
        "a/./b",
        "a\0b",
        "a\nb",
        "a\x7fb",
        "\ud800",
        "a\udcff",
        "x" * (MAX_NAME_BYTES + 1),
        "ü" * (MAX_NAME_BYTES // 2 + 1),
    ],
)
def test_any_other_name_is_refused_with_a_word(name: str) -> None:
    with pytest.raises(Invalid) as refused:
        checked_name(name)
    assert "name" in refused.value.message
    refused.value.message.encode()


def test_the_longest_name_is_taken() -> None:
    assert checked_name("ü" * (MAX_NAME_BYTES // 2))
