"""Changes that are made to refs which others may have moved."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from coordinator.domain.pushes.stored_repository import (
    RefChange,
    RefsMoved,
    changed,
    differences,
    rebased,
)

MAIN, SIDE, OWN = "refs/heads/main", "refs/heads/side", "refs/pushrod/x"


def test_differences_are_new_moved_and_gone_refs() -> None:
    found = differences({MAIN: "1", SIDE: "1", OWN: "1"}, {MAIN: "2", OWN: "1", "refs/tags/v": "3"})
    assert found == {
        MAIN: RefChange(old="1", new="2"),
        SIDE: RefChange(old="1", new=None),
        "refs/tags/v": RefChange(old=None, new="3"),
    }
    assert changed({MAIN: "1", SIDE: "1", OWN: "1"}, found) == {
        MAIN: "2",
        OWN: "1",
        "refs/tags/v": "3",
    }


@pytest.mark.parametrize(
    ("current", "change", "made"),
    [
        ({MAIN: "1"}, {MAIN: RefChange(old="1", new="2")}, {MAIN: RefChange(old="1", new="2")}),
        ({MAIN: "2"}, {MAIN: RefChange(old="1", new="2")}, {}),
        ({}, {MAIN: RefChange(old="1", new=None)}, {}),
        # The last one to fetch is right; but what was fetched anew stays.
        ({OWN: "3"}, {OWN: RefChange(old="1", new="2")}, {OWN: RefChange(old="3", new="2")}),
        ({OWN: "3"}, {OWN: RefChange(old="1", new=None)}, {}),
        ({SIDE: "1"}, {SIDE: RefChange(old="1", new=None)}, {SIDE: RefChange(old="1", new=None)}),
    ],
)
def test_what_nobody_else_moved_is_changed(
    current: Mapping[str, str], change: Mapping[str, RefChange], made: Mapping[str, RefChange]
) -> None:
    assert rebased(change, current) == made


@pytest.mark.parametrize(
    ("current", "change"),
    [
        ({MAIN: "3"}, {MAIN: RefChange(old="1", new="2")}),
        ({MAIN: "3"}, {MAIN: RefChange(old=None, new="2")}),
        ({MAIN: "3"}, {MAIN: RefChange(old="1", new=None)}),
        ({}, {MAIN: RefChange(old="1", new="2")}),
        ({"refs/heads/main/deep": "3"}, {MAIN: RefChange(old=None, new="2")}),
        ({MAIN: "3"}, {"refs/heads/main/deep": RefChange(old=None, new="2")}),
    ],
)
def test_what_another_moved_is_not(
    current: Mapping[str, str], change: Mapping[str, RefChange]
) -> None:
    with pytest.raises(RefsMoved, match="refs/heads/main"):
        rebased(change, current)


def test_a_folder_of_refs_may_become_a_ref() -> None:
    change = {
        "refs/heads/main/deep": RefChange(old="1", new=None),
        MAIN: RefChange(old=None, new="1"),
    }
    assert rebased(change, {"refs/heads/main/deep": "1"}) == change
