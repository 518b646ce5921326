"""What moved between the refs seen and the refs that are."""

from __future__ import annotations

from coordinator.domain.pushes.moved_refs import MovedRef, moved_refs


def test_new_moved_and_deleted_refs_are_found_in_order() -> None:
    seen = {"refs/heads/b": "1", "refs/heads/gone": "2", "refs/heads/same": "3"}
    now = {"refs/heads/b": "9", "refs/heads/a": "4", "refs/heads/same": "3"}
    assert moved_refs(seen, now) == [
        MovedRef(ref="refs/heads/a", old=None, new="4"),
        MovedRef(ref="refs/heads/b", old="1", new="9"),
        MovedRef(ref="refs/heads/gone", old="2", new=None),
    ]


def test_nothing_moved_where_all_was_seen() -> None:
    assert moved_refs({"refs/heads/a": "1"}, {"refs/heads/a": "1"}) == []
