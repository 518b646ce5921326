from __future__ import annotations

import pytest

from agent.engines.output_paths import OutsideWorkspaceError, matches, parse_pattern


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("dist/*.whl", "dist/a.whl", True),
        ("dist/*.whl", "dist/sub/a.whl", False),
        ("dist/*.whl", "dist/.hidden.whl", True),
        ("**/*.xml", "a.xml", True),
        ("**/*.xml", "a/b/c.xml", True),
        ("a/**", "a", True),
        ("a/**", "a/b/c", True),
        ("a/**/z", "a/z", True),
        ("a/**/z", "a/b/c/z", True),
        ("a/**/z", "b/z", False),
        ("a/**/**/z", "a/z", True),
        ("?.txt", "a.txt", True),
        ("?.txt", "ab.txt", False),
        ("[ab].txt", "b.txt", True),
        ("[!ab].txt", "b.txt", False),
        ("./reports/", "reports", True),
    ],
)
def test_patterns(pattern: str, path: str, expected: bool) -> None:
    assert matches(parse_pattern(pattern), path.split("/")) is expected


@pytest.mark.parametrize("pattern", ["/etc/passwd", "../x", "a/../../x", "a\0b"])
def test_a_pattern_outside_the_workspace_is_refused(pattern: str) -> None:
    with pytest.raises(OutsideWorkspaceError):
        parse_pattern(pattern)


def test_many_stars_are_matched_in_little_time() -> None:
    pattern = parse_pattern("**/a/" * 30 + "b")
    assert not matches(pattern, ["a"] * 60)
