"""What a .dockerignore leaves out."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.engines.buildkit.ignore_patterns import (
    BadPatternError,
    IgnorePatterns,
    ManyStars,
    TreeFilter,
    _expression,
    ignore_patterns,
)


@pytest.mark.parametrize(
    ("lines", "path", "ignored"),
    [
        (["*.md"], "a.md", True),
        (["*.md"], "docs/a.md", False),
        (["**/*.md"], "docs/deep/a.md", True),
        (["**/*.md"], "a.md", True),
        (["docs"], "docs/deep/a", True),
        (["docs"], "docs2", False),
        (["/docs/"], "docs/a", True),
        (["docs/**"], "docs/a", True),
        (["docs/*"], "docs/a/b", True),
        (["a?c"], "abc", True),
        (["a?c"], "a/c", False),
        (["a[bc]d"], "acd", True),
        (["a[^bc]d"], "acd", False),
        (["*.md", "!keep.md"], "keep.md", False),
        (["!keep.md", "*.md"], "keep.md", True),
        (["*", "!src"], "src/deep/a", False),
        (["*", "!src", "src/*.pyc"], "src/a.pyc", True),
        (["a.b"], "axb", False),
        (["a+(b)|c{d}$^"], "a+(b)|c{d}$^", True),
        (["a\\*b"], "a*b", True),
        (["a\\*b"], "axb", False),
        (["**"], "anything/at/all", True),
        (["a/**/b"], "a/b", True),
        (["a/**/b"], "a/x/y/b", True),
        (["a/**/b"], "ab", False),
        (["é"], "é", True),
        ([], "a", False),
        (["!"], "a", False),
    ],
)
def test_a_pattern_ignores_as_docker_does(lines: list[str], path: str, ignored: bool) -> None:
    assert ignore_patterns(lines).ignores(path) is ignored


def test_a_malformed_pattern_is_named() -> None:
    with pytest.raises(BadPatternError, match=r"z-a.*malformed"):
        ignore_patterns(["a[z-a]"])


def test_an_ignored_folder_is_left_out_unless_something_in_it_may_be_wanted() -> None:
    without, with_exception = (
        TreeFilter(ignore=ignore_patterns(lines)) for lines in (["docs"], ["docs", "!docs/a"])
    )

    assert without.leaves_out("docs", is_folder=True)
    assert not with_exception.leaves_out("docs", is_folder=True)
    assert with_exception.leaves_out("docs", is_folder=False)
    assert not with_exception.leaves_out("docs/a", is_folder=False)


def test_only_what_is_asked_for_is_looked_at() -> None:
    wanted = TreeFilter(ignore=IgnorePatterns(()), only=frozenset({"src/app", "go.mod"}))

    assert not wanted.leaves_out("src", is_folder=True)
    assert not wanted.leaves_out("src/app/main.py", is_folder=False)
    assert wanted.leaves_out("src/application", is_folder=True)
    assert wanted.leaves_out("go.sum", is_folder=False)


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("**/a*/" * 10 + "x", "a/" * 400),
        ("*a" * 20 + "x", "a" * 400),
        ("**/" * 20 + "x", "a/" * 400 + "y"),
    ],
)
@pytest.mark.timeout(60)
def test_a_pattern_full_of_stars_is_answered(pattern: str, path: str) -> None:
    """A regular expression would take longer than anybody waits."""
    assert not ignore_patterns([pattern]).ignores(path)


def test_a_pattern_of_more_stars_than_anybody_needs_is_refused() -> None:
    with pytest.raises(BadPatternError, match="more than 20 stars"):
        ignore_patterns(["*a" * 21])


PIECES = ("**/", "*", "?", "a", "[^b]", "/", "b")
PATHS = [
    "".join(letters)
    for length in range(1, 7)
    for letters in itertools.product("ab/", repeat=length)
    if not letters[0] == letters[-1] == "/"
]


@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=8).map("".join))
def test_many_stars_match_as_few_do(pattern: str) -> None:
    stepping, expression = ManyStars.of(pattern), re.compile(_expression(pattern), re.DOTALL)
    for path in PATHS[::7]:
        assert stepping.fullmatch(path) is (expression.fullmatch(path) is not None), path
