"""What a .dockerignore leaves out."""

from __future__ import annotations

import pytest

from agent.engines.buildkit.ignore_patterns import (
    BadPatternError,
    IgnorePatterns,
    TreeFilter,
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
