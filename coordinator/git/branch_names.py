"""Which names git would take for a branch."""

from __future__ import annotations

HEADS = "refs/heads/"


def is_branch_name(name: str) -> bool:
    """As `git check-ref-format --branch` says, without looking into any repository."""
    import pygit2  # 11 MB, which an idle coordinator does without

    if name.startswith("-") or name == "HEAD" or not name.isprintable():
        return False
    try:
        return pygit2.reference_is_valid_name(HEADS + name)
    except ValueError:
        return False
