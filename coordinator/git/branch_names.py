"""Which names git would take for a branch."""

from __future__ import annotations

import pygit2

HEADS = "refs/heads/"


def is_branch_name(name: str) -> bool:
    """As `git check-ref-format --branch` says, without looking into any repository."""
    if name.startswith("-") or name == "HEAD" or not name.isprintable():
        return False
    try:
        return pygit2.reference_is_valid_name(HEADS + name)
    except ValueError:
        return False
