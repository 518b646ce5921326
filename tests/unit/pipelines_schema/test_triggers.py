from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines_schema import parse_workflow, triggered_by_push
from pipelines_schema.triggers import branch_matches, pattern_matches

STEP = "\nsteps: [{name: a, image: b, run: c}]\n"


def is_triggered(on: str, branch: str) -> bool:
    parsed = parse_workflow((on + STEP).encode(), "f.yml")
    assert parsed.workflow is not None, parsed.problems
    return triggered_by_push(parsed.workflow, branch)


@pytest.mark.parametrize(
    "on", ["", "on: push", "on: [push]", "on: {push: {}}", "on: {push: }", "on:\n  push:"]
)
def test_every_branch_starts_a_workflow_that_names_none(on: str) -> None:
    assert is_triggered(on, "main")
    assert is_triggered(on, "feature/a/b")


def test_only_named_branches_start_a_workflow_that_names_some() -> None:
    on = 'on: {push: {branches: [main, "release/*", "!release/old"]}}'
    branches = ["main", "main2", "release/1", "release/1/x", "release/old"]
    assert [branch for branch in branches if is_triggered(on, branch)] == ["main", "release/1"]


def test_a_branch_named_like_a_number_is_its_text() -> None:
    assert is_triggered("on: {push: {branches: 1.10}}", "1.10")
    assert not is_triggered("on: {push: {branches: 1.10}}", "1.1")


def test_only_exclusions_let_all_others_through() -> None:
    assert branch_matches(["!wip/**"], "main")
    assert not branch_matches(["!wip/**"], "wip/a/b")


@pytest.mark.parametrize(
    ("pattern", "matching", "not_matching"),
    [
        ("main", ["main"], ["mai", "mainx", "x/main", "Main"]),
        ("*", ["main", ""], ["a/b"]),
        ("**", ["main", "a/b/c", ""], []),
        ("release/*", ["release/1", "release/"], ["release", "release/1/2", "xrelease/1"]),
        ("release/**", ["release/1", "release/1/2"], ["release", "releases/1"]),
        ("*/fix", ["a/fix"], ["fix", "a/b/fix"]),
        ("**/fix", ["fix", "a/fix", "a/b/fix"], ["hotfix", "fix/a"]),
        ("a/**/z", ["a/z", "a/b/z", "a/b/c/z"], ["az", "a/bz"]),
        ("v?.?", ["v1.2"], ["v1.10", "v1/2", "v1."]),
        ("a.b", ["a.b"], ["axb"]),
        ("a+(b)|c$^", ["a+(b)|c$^"], ["ab", "c"]),
        ("feature-*-x", ["feature-1-x", "feature---x"], ["feature-1/2-x", "feature-x"]),
        ("a**b", ["ab", "a/x/b"], ["a/x/bc"]),
    ],
)
def test_a_pattern_matches(pattern: str, matching: list[str], not_matching: list[str]) -> None:
    assert [name for name in matching if not pattern_matches(pattern, name)] == []
    assert [name for name in not_matching if pattern_matches(pattern, name)] == []


@given(st.text(alphabet="ab/*", max_size=8), st.text(alphabet="ab/", max_size=8))
@settings(deadline=None)
def test_matching_agrees_with_a_regular_expression(pattern: str, branch: str) -> None:
    words = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*"}
    expression = re.sub(
        r"(?:(?<=/)|^)\*\*/|\*\*|\*|.",
        lambda found: words.get(found.group(), re.escape(found.group())),
        pattern,
    )
    assert pattern_matches(pattern, branch) == bool(re.fullmatch(expression, branch))


def test_a_pattern_full_of_stars_is_matched_at_once() -> None:
    started = time.perf_counter()
    assert not pattern_matches("*a" * 120 + "b", "a" * 250)
    assert time.perf_counter() - started < 2  # a backtracking matcher does not come back
