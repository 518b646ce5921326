"""Branch names, by git's own rules."""

from __future__ import annotations

import subprocess

import pytest

from coordinator.git.branch_names import is_branch_name

NAMES = [
    *("main", "a/b", "release/1.0", "ü", "a@b", "@x", "a{b", "x-", "HEADS", "refs", "a.b", "é/è"),
    *("", " ", "a b", "-a", "HEAD", "a..b", "a~b", "a^b", "a:b", "a?b", "a*b", "a[b", "a\\b"),
    *("/a", "a/", "a//b", ".a", "a/.b", "a.", "a.lock", "a.lock/b", "a@{b", "a\tb", "a\x7f", "a\n"),
]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_judged_as_git_judges_it(name: str) -> None:
    said = subprocess.run(["git", "check-ref-format", "--branch", name], capture_output=True)
    assert is_branch_name(name) == (said.returncode == 0)


def test_a_nul_character_is_no_error() -> None:
    assert not is_branch_name("a\0b")
