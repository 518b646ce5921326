"""Which value of a secret a build may have: by the branch or tag whose code it runs.

A secret has one value for every build, and one for each pattern of branches or tags (0065).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from coordinator.domain.model import PullRequestRef
from coordinator.domain.projects.sealed import SecretShown
from pipelines_schema.patterns import branch_pattern_problem, pattern_matches

EVERY_BUILD = ""
"""The pattern of the value for all builds that have none of their own."""
BRANCHES = "refs/heads/"
TAGS = "refs/tags/"
MAX_PATTERNS_TOLD = 10
_WILDCARDS = "*?"


class CodeOf(Protocol):
    """A build, or what one is made for."""

    @property
    def trusted_ref(self) -> str | None: ...
    @property
    def pull_request(self) -> PullRequestRef | None: ...
    @property
    def commit_hash(self) -> str | None: ...


class Value(Protocol):
    @property
    def scope_id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def pattern(self) -> str: ...


V = TypeVar("V", bound=Value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What becomes of the secrets that somebody names."""

    values: Mapping[str, SecretShown]
    """By the name."""
    refused: Mapping[str, str]
    """Name → who may not have it, and who may, as in `the secret X, {which …}`."""


def chosen(values: Sequence[V], scopes: Sequence[str], code: CodeOf) -> dict[str, V]:
    """By the name: of those that the build may have, the last scope's; of these the one whose
    pattern says most."""
    found: dict[str, V] = {}
    for value in sorted(values, key=lambda one: (scopes.index(one.scope_id), _says(one.pattern))):
        if _is_for(value.pattern, code):
            found[value.name] = value
    return found


def given(
    values: Sequence[SecretShown], scopes: Sequence[str], names: Sequence[str], code: CodeOf
) -> Given:
    """Names that have no value at all are in neither."""
    found = chosen(values, scopes, code)
    refused = {
        name: f"which {_whose(code)} may not have: it is for {_told(patterns)}"
        for name in names
        if name not in found and (patterns := [one.pattern for one in values if one.name == name])
    }
    return Given(values={name: found[name] for name in names if name in found}, refused=refused)


def pattern_of(branch: str | None, tag: str | None) -> str:
    """Of what somebody wrote; at most one is given."""
    if branch is not None:
        return BRANCHES + branch
    return EVERY_BUILD if tag is None else TAGS + tag


def pattern_fault(kind: str, pattern: str) -> str | None:
    """What is wrong with a pattern that somebody wrote for a `kind`, branch or tag."""
    if pattern.startswith("!"):
        return (
            f"the {kind} pattern {pattern[:100]!r} begins with `!`: a value is for what its "
            "pattern matches, so name those who may have it"
        )
    fault = branch_pattern_problem(pattern)
    if fault is None:
        return None
    return f"the {kind} pattern {pattern[:100]!r} {fault.replace('branch', kind)}"


def words_of(pattern: str) -> str:
    """`branch release/*`, `tag v*`."""
    if pattern.startswith(TAGS):
        return f"tag {pattern.removeprefix(TAGS)}"
    if pattern.startswith(BRANCHES):
        return f"branch {pattern.removeprefix(BRANCHES)}"
    return "every build"


def _is_for(pattern: str, code: CodeOf) -> bool:
    if pattern == EVERY_BUILD:
        return True
    if code.trusted_ref is None or code.pull_request is not None:
        return False
    for kind in (BRANCHES, TAGS):
        # Apart: no wildcard reaches from one kind into the other.
        if pattern.startswith(kind) and code.trusted_ref.startswith(kind):
            return pattern_matches(pattern[len(kind) :], code.trusted_ref[len(kind) :])
    return False


def _says(pattern: str) -> tuple[bool, bool, int, str]:
    """More for a name than for a pattern, and for one with more that is no wildcard."""
    plain = sum(character not in _WILDCARDS for character in pattern)
    return pattern != EVERY_BUILD, plain == len(pattern), plain, pattern


def _whose(code: CodeOf) -> str:
    if code.pull_request is not None:
        return "builds of pull requests"
    if code.trusted_ref is not None:
        return f"builds of {words_of(code.trusted_ref)}"
    if code.commit_hash is None:
        return "builds of no branch"
    return (
        f"builds of commit {code.commit_hash[:10]} of which no branch is known (name the branch "
        "that has it)"
    )


def _told(patterns: Sequence[str]) -> str:
    told = [words_of(pattern) for pattern in sorted(patterns)[:MAX_PATTERNS_TOLD]]
    left = len(patterns) - len(told)
    return ", ".join([*told, *([f"and {left} more"] if left else [])])
