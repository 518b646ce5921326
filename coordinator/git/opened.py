"""Looking into a repository through libgit2."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # libgit2 brings 11 MB, so it is loaded where a repository is first looked into.
    import pygit2

OWN_REFS = "refs/pushrod/"
"""Keep what was fetched; no client sees them."""
REMOTE_BRANCHES = f"{OWN_REFS}branches/"
"""Where a remote project's branches are kept, as they were when somebody had to know them all."""
REMOTE_TAGS = f"{OWN_REFS}tags/"
"""The same of its tags."""
_REVISION = re.compile(r"[0-9a-fA-F]{4,40}")


class RepositoryMissing(LookupError):
    """The project has no repository here."""


class CommitMissing(LookupError):
    """The repository has no such commit."""


@contextmanager
def opened(path: Path) -> Iterator[pygit2.Repository]:
    import pygit2

    # As git's safe.directory: the operator named this folder, whoever owns it.
    pygit2.settings.owner_validation = False
    # What a build is made of must be there after a power cut, as the build itself is.
    pygit2.settings.enable_fsync_gitdir(True)
    if not path.is_dir():
        raise RepositoryMissing(path.stem)
    repository = pygit2.Repository(str(path))
    try:
        yield repository
    finally:
        repository.free()


def find_commit(repository: pygit2.Repository, revision: str) -> pygit2.Commit | None:
    import pygit2

    if not _REVISION.fullmatch(revision):
        return None
    try:
        found = repository.get(revision)
        return found.peel(pygit2.Commit) if found is not None else None
    except (ValueError, KeyError, pygit2.GitError):
        # Ambiguous, a blob or a tree, or an object that is broken or missing.
        return None
