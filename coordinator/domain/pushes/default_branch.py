"""Which branch a project goes by where none is named. Pure."""

from __future__ import annotations

from collections.abc import Mapping

USUAL_BRANCHES = ("main", "master")


def chosen_branch(branches: Mapping[str, str], lost: str | None) -> str | None:
    """The one that HEAD is to name, of branches and their commits; None where there is none.

    Where the branch that it named is gone, one that is at its last commit (`lost`) is that branch
    under a new name. Of several: main, master, the first by name.
    """
    renamed = [name for name, sha in branches.items() if sha == lost]
    names = renamed or list(branches)
    usual = [name for name in USUAL_BRANCHES if name in names]
    return next(iter(usual or sorted(names)), None)


def told_default_branch(new: str | None, old: str, *, was_there: bool, project: str) -> str | None:
    """The line on it for the one who pushed; None where `old` was never there and is none now."""
    if not was_there:
        return f"the default branch is {new}" if new is not None else None
    if new is None:
        return f"{old} was the default branch: the next one that is pushed takes its place"
    return (
        f"the default branch is {new}, as {old} is gone; "
        f"another: pushrod project set {project} --default-branch NAME"
    )
