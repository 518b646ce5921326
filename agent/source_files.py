"""The files of a work tree, written from a mirror's objects by libgit2."""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path

import pygit2
from pygit2.enums import FileMode

from agent.journal import remove_folder
from agent.sources import SourceError, WorkTree

logger = logging.getLogger(__name__)


def make_mirror(mirror: Path) -> None:
    pygit2.init_repository(str(mirror), bare=True)


def has_commit(mirror: Path, commit: str) -> bool:
    """Whether commit and tree are here; the ref says that the fetch came to its end."""
    try:
        repository = pygit2.Repository(str(mirror))
        return isinstance(repository.get(commit), pygit2.Commit) and (
            f"refs/pushrod/{commit}" in repository.references
        )
    except (pygit2.GitError, KeyError, ValueError):
        return False


def rewrite(mirror: Path, tree: WorkTree, before: str | None, commit: str) -> None:
    """Make the tree's files those of the commit. Raises SourceError."""
    try:
        tree.commit_file.unlink(missing_ok=True)
        repository = pygit2.Repository(str(mirror))
        new = repository[commit].peel(pygit2.Tree)
        if not _changed_in_place(repository, tree, before, new):
            remove_folder(tree.folder)
            tree.files.mkdir(parents=True)
            _Rewriting(repository, tree.files).apply(None, new)
        tree.commit_file.write_text(commit, "ascii")
    except (OSError, pygit2.GitError, KeyError, ValueError) as error:
        raise SourceError(f"the source at {commit} can't be laid out: {error}") from error


def _changed_in_place(
    repository: pygit2.Repository, tree: WorkTree, before: str | None, new: pygit2.Tree
) -> bool:
    """Rewrite what differs from the commit before; False if that commit is no longer known."""
    if before is None or not tree.files.is_dir():
        return False
    try:
        old = repository[before].peel(pygit2.Tree)
        _Rewriting(repository, tree.files).apply(old, new)
    except (OSError, KeyError, ValueError, pygit2.GitError) as error:
        logger.info("work tree %s is made anew: %r", tree.folder, error)
        return False
    return True


class _Rewriting:
    """Applies the difference of two trees to a folder; subtrees that are equal aren't looked at."""

    def __init__(self, repository: pygit2.Repository, root: Path) -> None:
        self._repository = repository
        self._root = os.fsencode(root)

    def apply(self, old: pygit2.Tree | None, new: pygit2.Tree) -> None:
        todo = [(self._root, old, new)]
        while todo:
            folder, before, after = todo.pop()
            had = _entries(before)
            wanted = _entries(after)
            for name in had.keys() - wanted.keys():
                _remove(os.path.join(folder, name))
            for name, entry in wanted.items():
                path = os.path.join(folder, name)
                earlier = had.get(name)
                if earlier is not None and _same(earlier, entry):
                    continue
                if entry.filemode == FileMode.TREE:
                    below = self._enter(path, earlier)
                    todo.append((path, below, self._repository[entry.id].peel(pygit2.Tree)))
                else:
                    _remove(path)
                    self._write(path, entry)

    def _enter(self, path: bytes, earlier: pygit2.Object | None) -> pygit2.Tree | None:
        """Make the folder, unless it is there; return the tree it holds."""
        if earlier is not None and earlier.filemode == FileMode.TREE:
            return self._repository[earlier.id].peel(pygit2.Tree)
        _remove(path)
        os.mkdir(path, 0o755)
        return None

    def _write(self, path: bytes, entry: pygit2.Object) -> None:
        if entry.filemode == FileMode.COMMIT:
            os.mkdir(path, 0o755)  # a submodule: an empty folder, as in a plain clone
            return
        data = self._repository[entry.id].peel(pygit2.Blob).data
        if entry.filemode == FileMode.LINK:
            os.symlink(data, path)
            return
        mode = 0o755 if entry.filemode == FileMode.BLOB_EXECUTABLE else 0o644
        # Exclusive, and a parent is always a folder made here: nothing is written through a link.
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        with open(number, "wb") as file:
            os.fchmod(number, mode)
            file.write(data)


def _entries(tree: pygit2.Tree | None) -> dict[bytes, pygit2.Object]:
    """The entries by name. Raises ValueError for names that no honest tree has."""
    entries: dict[bytes, pygit2.Object] = {}
    for entry in tree or ():
        name = entry.raw_name or b""
        if name in (b"", b".", b"..") or name.lower() == b".git" or b"/" in name or name in entries:
            raise ValueError(f"the commit has an impossible file name {name!r}")
        entries[name] = entry
    return entries


def _same(one: pygit2.Object, other: pygit2.Object) -> bool:
    return one.id == other.id and one.filemode == other.filemode


def _remove(path: bytes) -> None:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    if stat.S_ISDIR(status.st_mode):
        remove_folder(Path(os.fsdecode(path)))
    else:
        os.unlink(path)
