"""HEAD of a project's repository: the default branch, its own or its forge's.

Of a project at a forge, HEAD names what it names there, and the branch itself is kept among the
refs that were fetched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from coordinator.domain.pushes.default_branch import chosen_branch
from coordinator.domain.pushes.deliveries import is_ref
from coordinator.git.branch_names import HEADS
from coordinator.git.opened import OWN_REFS, RepositoryMissing, find_commit, opened

if TYPE_CHECKING:
    # libgit2 brings 11 MB, so it is loaded where a repository is first looked into.
    import pygit2

_SYMBOLIC = "ref: "


def own_ref(name: str) -> str:
    """Where a fetched ref or commit is kept, so that later fetches build on what is here."""
    if not name.startswith("refs/"):
        return OWN_REFS + name
    return OWN_REFS + hashlib.sha256(name.encode()).hexdigest()[:40]


def head_ref(repository: pygit2.Repository) -> str:
    """The full name of what HEAD names, whether there is such a branch or not."""
    target = repository.references["HEAD"].raw_target
    return target.decode(errors="backslashreplace") if isinstance(target, bytes) else ""


def default_tip(repository: pygit2.Repository) -> pygit2.Commit | None:
    return tip_of(repository, head_ref(repository))


def tip_of(repository: pygit2.Repository, name: str) -> pygit2.Commit | None:
    """The commit of a ref by its full name, the repository's own or its forge's."""
    for ref in (name, own_ref(name)):
        if "\\" not in ref and ref in repository.references:
            return find_commit(repository, str(repository.references[ref].resolve().target))
    return None


def default_branch(path: Path) -> str | None:
    """None where there is no commit yet; nor a repository, whose builds are to be shown still."""
    try:
        with opened(path) as repository:
            if default_tip(repository) is None:
                return None
            return head_ref(repository).removeprefix(HEADS)
    except RepositoryMissing:
        return None


def default_commit(path: Path) -> str | None:
    with opened(path) as repository:
        tip = default_tip(repository)
        return None if tip is None else str(tip.id)


def set_head(path: Path, ref: str) -> None:
    """Let HEAD name a branch that is here, or the forge's."""
    with opened(path) as repository:
        if head_ref(repository) != ref:
            repository.set_head(ref)


def set_default_branch(path: Path, branch: str) -> bool:
    """Whether there is such a branch."""
    with opened(path) as repository:
        if branch not in _branches(repository):
            return False
        if head_ref(repository) != HEADS + branch:
            repository.set_head(HEADS + branch)
        return True


def names_no_branch(path: Path) -> bool:
    """Whether HEAD names one that is not there."""
    with opened(path) as repository:
        return repository.head_is_unborn


def settle_default_branch(path: Path, gone: Mapping[str, str]) -> tuple[str, str | None] | None:
    """Let HEAD name a branch that there is: the old and the new name where it named none.

    `gone` has what refs that are no more pointed to.
    """
    with opened(path) as repository:
        if not repository.head_is_unborn:
            return None
        old = head_ref(repository)
        new = chosen_branch(_branches(repository), gone.get(old))
        if new is not None:
            repository.set_head(HEADS + new)
        return old.removeprefix(HEADS), new


def _branches(repository: pygit2.Repository) -> dict[str, str]:
    """Commits by name. Left out are names that are not UTF-8: nobody could say them here."""
    return {
        name.decode(): str(repository.references[(HEADS + name.decode())].target)
        for name in repository.raw_listall_branches()
        if _is_utf8(name)
    }


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


def symbolic_head(listed: bytes) -> str | None:
    """The branch that HEAD names, as `git ls-remote --symref` tells it; None where it doesn't."""
    for line in listed.decode(errors="replace").splitlines():
        target, _, name = line.partition("\t")
        ref = target.removeprefix(_SYMBOLIC)
        if name == "HEAD" and ref != target and ref.startswith(HEADS) and is_ref(ref):
            return ref
    return None
