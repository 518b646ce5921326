from __future__ import annotations

import pytest

from coordinator.domain.pushes.default_branch import chosen_branch, told_default_branch
from coordinator.git.head import symbolic_head


@pytest.mark.parametrize(
    ("branches", "lost", "chosen"),
    [
        ({}, None, None),
        ({"x": "1"}, None, "x"),
        ({"b": "1", "a": "2"}, None, "a"),
        ({"a": "1", "master": "2"}, None, "master"),
        ({"a": "1", "master": "2", "main": "3"}, None, "main"),
        ({"main": "1", "trunk": "2"}, "2", "trunk"),
        ({"z": "2", "y": "2", "main": "1"}, "2", "y"),
        ({"z": "2", "main": "2"}, "2", "main"),
        ({"main": "1"}, "9", "main"),
    ],
)
def test_head_goes_to_the_renamed_branch_else_the_usual_ones_else_the_first(
    branches: dict[str, str], lost: str | None, chosen: str | None
) -> None:
    assert chosen_branch(branches, lost) == chosen


def test_nothing_is_told_while_there_has_been_no_branch() -> None:
    assert told_default_branch(None, "main", was_there=False, project="shop") is None


@pytest.mark.parametrize(
    ("listed", "head"),
    [
        (b"ref: refs/heads/trunk\tHEAD\n0123\tHEAD\n", "refs/heads/trunk"),
        (b"0123\tHEAD\n", None),
        (b"", None),
        (b"ref: refs/heads/a b\tHEAD\n", None),
        (b"ref: refs/pull/1/head\tHEAD\n", None),
        (b"ref: refs/heads/x\trefs/remotes/a/HEAD\n", None),
        (b"refs/heads/x\tHEAD\n", None),
        (b"ref: refs/heads/\xff\tHEAD\n", None),
    ],
)
def test_only_a_branch_with_a_sound_name_is_a_forges_head(listed: bytes, head: str | None) -> None:
    assert symbolic_head(listed) == head
