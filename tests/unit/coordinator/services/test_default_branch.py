from __future__ import annotations

import pytest

from coordinator.services.pushes.module_files import default_branch


@pytest.mark.parametrize(
    ("head", "branches", "wanted"),
    [
        ("trunk", ["main", "trunk"], "trunk"),
        ("main", ["master", "side"], "master"),
        (None, ["side", "master", "main"], "main"),
        (None, ["side", "master"], "master"),
        (None, ["side"], "side"),
        ("main", ["side"], "side"),
        (None, ["one", "two"], None),
        (None, [], None),
        ("main", [], None),
    ],
)
def test_the_default_branch_is_heads_or_a_usual_one_or_the_only_one(
    head: str | None, branches: list[str], wanted: str | None
) -> None:
    assert default_branch(head, dict.fromkeys(branches, "1" * 40)) == wanted
