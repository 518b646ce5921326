"""Whose results a build may take. Pure.

The default branch and tags take only their own: what ran elsewhere may have used caches that anyone
who may push can write. Forks take only those of their own pull request, and nobody theirs. What was
sent from a laptop is whatever its sender says it is: only branches take it.
"""

from __future__ import annotations

from collections.abc import Sequence

from coordinator.domain.model import Build

PROTECTED, TAGS, OTHERS, LAPTOP = "protected", "tags", "others", "laptop"
SENT_FROM_A_LAPTOP = "laptop"
"""The event of a build that no agent has run."""


def scope_of(build: Build, default_branch: str | None) -> str:
    """Of what the build leaves. A project that knows no default branch protects nothing apart."""
    if build.event == SENT_FROM_A_LAPTOP:
        return LAPTOP
    if build.of_fork:
        pull = build.pull_request
        return f"fork/{pull.number}" if pull else f"outside/{build.commit_hash}"
    if build.tag is not None:
        return TAGS
    if build.pull_request is None and default_branch in (None, build.branch):
        return PROTECTED
    return OTHERS


def readable_from(scope: str) -> Sequence[str]:
    return (OTHERS, PROTECTED, LAPTOP) if scope == OTHERS else (scope,)


def described(scope: str) -> str:
    return {
        PROTECTED: "the default branch's own results",
        TAGS: "the results of tags",
        OTHERS: "the results of branches and laptops",
        LAPTOP: "what was sent from laptops",
    }.get(scope, "the results of this fork's pull request")
