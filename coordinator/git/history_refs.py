"""Branches and tags of a project, with the commits that they mean."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from coordinator.git.opened import REMOTE_BRANCHES, REMOTE_TAGS, opened
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
