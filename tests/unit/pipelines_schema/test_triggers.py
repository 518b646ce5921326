from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines_schema import (
    asks_to_skip,
    parse_workflow,
    triggered_by_push,
    triggered_by_tag,
)
from pipelines_schema.patterns import chosen_by, pattern_matches

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
    assert chosen_by(["!wip/**"], "main")
    assert not chosen_by(["!wip/**"], "wip/a/b")


def test_a_later_pattern_takes_in_again_what_an_earlier_one_took_out() -> None:
    patterns = ["src/**", "!**/*.md", "src/guide/*.md"]
    names = ["src/a.c", "src/README.md", "src/guide/a.md", "guide/a.md"]
    assert [name for name in names if chosen_by(patterns, name)] == ["src/a.c", "src/guide/a.md"]


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
    started = time.process_time()
    assert not pattern_matches("*a" * 120 + "b", "a" * 250)
    assert time.process_time() - started < 2  # a backtracking matcher does not come back


@pytest.mark.parametrize(
    ("changed", "started"),
    [
        (["src/a.c"], True),
        (["src/deep/a.c", "x"], True),
        (["src/README.md"], False),
        (["docs/a.c"], False),
        ([], False),
        (None, True),
    ],
)
def test_a_push_starts_what_names_a_file_that_it_changed(
    changed: list[str] | None, started: bool
) -> None:
    text = 'on: {push: {paths: ["src/**", "!**/*.md"]}}' + STEP
    workflow = parse_workflow(text.encode(), "f.yml").workflow
    assert workflow is not None
    assert triggered_by_push(workflow, "main", changed) is started


@pytest.mark.parametrize(
    ("on", "tag", "started"),
    [
        ("on: tag", "v1", True),
        ('on: {tag: ["v*", "!v*-rc*"]}', "v1", True),
        ('on: {tag: ["v*", "!v*-rc*"]}', "v1-rc1", False),
        ('on: {tag: ["v*"]}', "other", False),
        ("on: push", "v1", False),
        ("", "v1", False),
    ],
)
def test_a_tag_starts_only_what_names_it(on: str, tag: str, started: bool) -> None:
    workflow = parse_workflow((on + STEP).encode(), "f.yml").workflow
    assert workflow is not None
    assert triggered_by_tag(workflow, tag) is started


@pytest.mark.parametrize(
    ("message", "skips"),
    [("a [skip ci]", True), ("[CI SKIP]\n\nb", True), ("skip ci", False), ("[skipci]", False)],
)
def test_a_message_can_ask_for_nothing_to_be_built(message: str, skips: bool) -> None:
    assert asks_to_skip(message) is skips
