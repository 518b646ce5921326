"""Which value of a secret a build may have."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from coordinator.domain.model import PullRequestRef
from coordinator.domain.projects.sealed import SecretShown
from coordinator.domain.projects.secret_values import chosen, given, pattern_fault

SCOPES = ["account", "project"]
PULL = PullRequestRef(number=1, head="main", base="main", fork=False)


@dataclass(frozen=True)
class Code:
    trusted_ref: str | None = None
    pull_request: PullRequestRef | None = None
    commit_hash: str | None = "0123456789abcdef"


def value(pattern: str, scope_id: str = "project", name: str = "KEY") -> SecretShown:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return SecretShown(scope_id=scope_id, name=name, pattern=pattern, updated_at=now)


def pattern_for(ref: str | None, *patterns: str, pull: PullRequestRef | None = None) -> str | None:
    found = chosen([value(one) for one in patterns], SCOPES, Code(ref, pull))
    return found["KEY"].pattern if found else None


@pytest.mark.parametrize(
    ("pattern", "ref", "has_it"),
    [
        ("", None, True),
        ("", "refs/heads/x", True),
        ("refs/heads/main", "refs/heads/main", True),
        ("refs/heads/main", "refs/heads/main2", False),
        ("refs/heads/main", "refs/heads/feature/main", False),
        ("refs/heads/release/*", "refs/heads/release/1", True),
        ("refs/heads/release/*", "refs/heads/release/1/x", False),
        ("refs/heads/release/**", "refs/heads/release/1/x", True),
        ("refs/heads/**", "refs/tags/v1", False),
        ("refs/heads/main", "refs/tags/main", False),
        ("refs/tags/v*", "refs/heads/v1", False),
        ("refs/tags/v*", "refs/tags/v1", True),
        ("refs/heads/**", None, False),
        ("refs/heads/**", "refs/pull/1/head", False),
    ],
)
def test_a_value_is_for_what_its_pattern_matches_of_its_kind(
    pattern: str, ref: str | None, has_it: bool
) -> None:
    assert (pattern_for(ref, pattern) == pattern) is has_it


def test_a_pull_request_has_only_what_is_for_every_build() -> None:
    assert pattern_for("refs/heads/main", "refs/heads/**", pull=PULL) is None
    assert pattern_for("refs/heads/main", "refs/heads/**", "", pull=PULL) == ""


def test_of_several_the_one_that_says_most_counts_in_any_order() -> None:
    patterns = ["", "refs/heads/**", "refs/heads/release/*", "refs/heads/release/1"]
    for told in (patterns, patterns[::-1]):
        assert pattern_for("refs/heads/release/1", *told) == "refs/heads/release/1"
        assert pattern_for("refs/heads/release/2", *told) == "refs/heads/release/*"
        assert pattern_for("refs/heads/main", *told) == "refs/heads/**"
        assert pattern_for("refs/tags/v1", *told) == ""
    name = "refs/heads/r"
    assert pattern_for(name, name, "refs/heads/r**") == name
    both = ("refs/heads/a*", "refs/heads/*a")
    assert pattern_for("refs/heads/aa", *both) == pattern_for("refs/heads/aa", *both[::-1])


def test_a_projects_own_value_comes_before_its_accounts_whatever_they_are_for() -> None:
    values = [value("refs/heads/main", "account"), value("", "project")]
    [of_main] = chosen(values, SCOPES, Code("refs/heads/main")).values()
    assert of_main.scope_id == "project"
    values = [value("", "account"), value("refs/heads/main", "project")]
    found = [chosen(values, SCOPES, Code(f"refs/heads/{name}"))["KEY"] for name in ("main", "x")]
    assert [one.scope_id for one in found] == ["project", "account"]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (Code("refs/heads/feature/x"), "which builds of branch feature/x may not have: "),
        (Code("refs/tags/main"), "which builds of tag main may not have: "),
        (Code(None, PULL), "which builds of pull requests may not have: "),
        (Code(None, None, None), "which builds of no branch may not have: "),
        (Code(), "which builds of commit 0123456789 of which no branch is known (name the branch "),
    ],
)
def test_who_is_refused_is_told_and_for_whom_it_is(code: Code, words: str) -> None:
    values = [value("refs/tags/v*"), value("refs/heads/main"), value("", name="OTHER")]
    found = given(values, SCOPES, ["KEY", "OTHER", "NONE"], code)
    assert list(found.values) == ["OTHER"]
    assert found.refused.keys() == {"KEY"}
    assert found.refused["KEY"].startswith(words)
    assert found.refused["KEY"].endswith("it is for branch main, tag v*")


def test_many_patterns_are_counted() -> None:
    values = [value(f"refs/heads/b{number:02}") for number in range(13)]
    told = given(values, SCOPES, ["KEY"], Code("refs/heads/x")).refused["KEY"]
    assert told.endswith("branch b09, and 3 more")


@pytest.mark.parametrize(
    ("pattern", "fault"),
    [
        ("release/*", None),
        ("!main", "begins with `!`"),
        ("", "is empty"),
        ("refs/heads/main", "must be a tag's short name"),
        ("a..b", "is no name that git allows for a tag"),
    ],
)
def test_a_pattern_that_could_mean_nothing_is_refused(pattern: str, fault: str | None) -> None:
    told = pattern_fault("tag", pattern)
    assert told is None if fault is None else fault in str(told)
