"""Which outputs stay how long, by what their paths say."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from coordinator.domain.model import GoneOutput
from coordinator.domain.upkeep.keeps import KeptPaths, gone_words

NONE: dict[str, str] = {}


def seconds(keeps: dict[str, int], name: str, links: dict[str, str] = NONE) -> int | None:
    kept = KeptPaths(keeps, links).of(name)
    return None if kept is None else kept.seconds


@pytest.mark.parametrize(
    ("path", "name", "named"),
    [
        ("dist/", "dist/a/b", True),
        ("dist", "dist", True),
        ("dist/", "distant/a", False),
        ("*.whl", "a.whl", True),
        ("*.whl", "dist/a.whl", False),
        ("**/*.log", "a/b/c.log", True),
        ("a[1].txt", "a[1].txt", True),
    ],
)
def test_a_path_names_what_agents_take_for_it(path: str, name: str, named: bool) -> None:
    assert (seconds({path: 60}, name) == 60) is named


def test_of_several_paths_the_longest_counts_whatever_their_order() -> None:
    keeps = {"dist/": 120, "dist/*.whl": 600, "dist/a*": 60}
    for order in (keeps, dict(reversed(keeps.items()))):
        assert seconds(order, "dist/a.whl") == 600
        assert seconds(order, "dist/a.txt") == 120


@pytest.mark.parametrize(
    ("path", "links", "name", "named"),
    [
        ("current/*", {"current": "1.0"}, "1.0/app", True),
        ("current/*", {"current": "1.0"}, "current", True),
        ("current/*", {"current": "1.0"}, "2.0/app", False),
        ("lib/libx.so", {"lib/libx.so": "libx.so.1", "lib/libx.so.1": "../y"}, "y", True),
        ("a/b", {"a": "/workspace/c"}, "c/b", True),
        ("a/b", {"a": "/etc"}, "etc/b", False),
        ("a/b", {"a": "../../x"}, "x/b", False),
        ("a/b", {"a": "b", "b": "a"}, "c", False),
        ("a/x", {"a": "a/a"}, "c", False),
        # Behind `**`, and below a folder that is taken, links are not followed.
        ("**/x", {"a": "b"}, "b/y", False),
        ("dist/", {"dist/l": "../out"}, "out/file", False),
    ],
)
def test_a_path_through_a_link_names_what_is_behind_it(
    path: str, links: dict[str, str], name: str, named: bool
) -> None:
    assert (seconds({path: 60}, name, links) == 60) is named


def test_what_went_is_said_with_its_own_words() -> None:
    gone = GoneOutput(path="out", seconds=90_060, gone_at=datetime(2026, 3, 1, tzinfo=UTC))
    assert gone_words(gone) == (
        "out was deleted on 2026-03-01: it was to be kept for 1d1h1m (`keep`)"
    )
