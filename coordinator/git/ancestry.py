"""How commits of a repository stand to each other. Blocking."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from coordinator.git.branch_names import HEADS
from coordinator.git.head import default_tip, tip_of
from coordinator.git.opened import find_commit, opened
from coordinator.ports import MAX_CHANGED_PATHS

if TYPE_CHECKING:
    # libgit2 brings 11 MB, so it is loaded where a repository is first looked into.
    import pygit2


def changed_paths(path: Path, old: str | None, new: str) -> list[str] | None:
    with opened(path) as repository:
        tip = find_commit(repository, new)
        base = find_commit(repository, old) if old else _left_default_branch(repository, tip)
        if tip is None or base is None:
            return None
        difference = base.tree.diff_to_tree(tip.tree)
        if len(difference) > MAX_CHANGED_PATHS:
            return None
        names = (
            file.raw_path
            for delta in difference.deltas
            for file in (delta.old_file, delta.new_file)
        )
        return [name.decode(errors="backslashreplace") for name in dict.fromkeys(names)]


def oldest(path: Path, commits: Sequence[str]) -> str | None:
    with opened(path) as repository:
        here = [commit for sha in commits if (commit := find_commit(repository, sha)) is not None]
        for one in here:
            others = (other.id for other in here if other.id != one.id)
            if not any(repository.descendant_of(one.id, other) for other in others):
                return str(one.id)
        return None


def merge_base(path: Path, branch: str, sha: str) -> str | None:
    with opened(path) as repository:
        tip, into = find_commit(repository, sha), tip_of(repository, HEADS + branch)
        base = repository.merge_base(into.id, tip.id) if into and tip else None
        return None if base is None else str(base)


def _left_default_branch(
    repository: pygit2.Repository, tip: pygit2.Commit | None
) -> pygit2.Commit | None:
    """Where a new branch begins; None for the default branch itself, which has no beginning."""
    import pygit2

    default = default_tip(repository)
    if tip is None or default is None or default.id == tip.id:
        return None
    base = repository.merge_base(default.id, tip.id)
    return None if base is None else repository[base].peel(pygit2.Commit)
