"""How much of its repository's history a step finds in `.git`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class GitHistory:
    depth: int | None = 1
    """How many commits of each line of ancestors; None is all, and the branches with them."""
    tags: bool = False
    """All tags of the commits that are there; else those of the step's own commit alone."""

    def to_json(self) -> dict[str, Any]:
        """For storage; `git_from_json` reads it back."""
        return {"depth": self.depth, "tags": self.tags}


DEFAULT_GIT = GitHistory()
FULL_GIT = GitHistory(depth=None, tags=True)


def git_to_json(git: GitHistory | None) -> dict[str, Any] | bool | None:
    """None for what a step has that says nothing, so that it is left out."""
    if git is None:
        return False
    return None if git == DEFAULT_GIT else git.to_json()


def git_from_json(value: Any) -> GitHistory | None:
    """What `git_to_json` wrote, or None where it left it out."""
    if value is False:
        return None
    return DEFAULT_GIT if value is None else GitHistory(depth=value["depth"], tags=value["tags"])
