"""Branches and tags of a project, with the commits that they mean, and how these stand to each
other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from coordinator.git.branch_names import HEADS
from coordinator.git.head import tip_of
from coordinator.git.opened import REMOTE_BRANCHES, REMOTE_TAGS, find_commit, opened
from pipelines_schema.contract_sources import GitRef

if TYPE_CHECKING:
    import pygit2

HOSTED = {"refs/tags/": "refs/tags/", "refs/heads/": "refs/heads/"}
REMOTE = {REMOTE_TAGS: "refs/tags/", REMOTE_BRANCHES: "refs/heads/"}
"""Where they are kept here → where they stand at the forge."""


def history_refs(path: Path, *, remote: bool, also: Mapping[str, str]) -> list[GitRef]:
    """In order of their names; those that mean no commit are left out. Blocking.

    `also`: whole name → the ref of ours that has its value, where it is there.
    """
    with opened(path) as repository:
        places = REMOTE if remote else HOSTED
        found = {name: repository.references.get(kept) for name, kept in also.items()}
        for reference in repository.references.iterator():
            name = reference.raw_name.decode(errors="surrogateescape")
            for kept, shown in places.items():
                if name.startswith(kept):
                    found[shown + name.removeprefix(kept)] = reference
        refs = [_ref(repository, name, found[name]) for name in sorted(found)]
        return [ref for ref in refs if ref is not None]


def _ref(repository: pygit2.Repository, name: str, found: pygit2.Reference | None) -> GitRef | None:
    import pygit2

    if found is None:
        return None
    try:
        name.encode()
        target = found.resolve().target
        commit = repository[target].peel(pygit2.Commit)
    except (UnicodeEncodeError, KeyError, ValueError, pygit2.GitError):
        # A tag of a tree, a symbolic ref to nothing, a name that JSON can't carry.
        return None
    return GitRef(name=name, object=str(target), commit=str(commit.id))


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
