"""The files of a work tree, written from a mirror's objects by libgit2."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pygit2
from pygit2.enums import FileMode

from agent.removal import remove_folder
from agent.source_trees import SourceError, WorkTree
from agent.tree_contents import TreeContents
from pipelines_schema.lfs_pointer import pointed_object

logger = logging.getLogger(__name__)


def make_mirror(mirror: Path) -> None:
    """Raises OSError."""
    try:
        pygit2.init_repository(str(mirror), bare=True)
    except pygit2.GitError as error:
        raise OSError(str(error)) from error


def missing_objects(mirror: Path, ids: Sequence[str]) -> list[str]:
    """Those of these commits and annotated tags that are not here with all they name; the ref says
    that their fetch came to its end."""
    try:
        repository = pygit2.Repository(str(mirror))
        return [one for one in ids if not _is_there(repository, one)]
    except pygit2.GitError:
        return list(ids)


def _is_there(repository: pygit2.Repository, one: str) -> bool:
    try:
        found = repository.get(one)
        is_whole = f"refs/pushrod/{one}" in repository.references
    except (pygit2.GitError, KeyError, ValueError):
        return False
    return is_whole and isinstance(found, (pygit2.Commit, pygit2.Tag))


def rewrite(
    repositories: Sequence[Path], tree: WorkTree, before: str | None, commit: str
) -> TreeContents:
    """Make the tree's files those of the commit; `seal` ends it. Raises SourceError.

    The commit is in the first of the repositories, the one before in any.
    """
    with _explained(commit):
        tree.commit_file.unlink(missing_ok=True)
        repository = _opened(repositories)
        new = repository[commit].peel(pygit2.Tree)
        contents = _changed_in_place(repository, tree, before, new)
        if contents is None:
            contents = TreeContents()
            tree.indexed = None
            remove_folder(tree.folder)
            tree.files.mkdir(parents=True)
            _Rewriting(repository, tree.files, contents).apply(None, new)
        return contents


def seal(tree: WorkTree, commit: str, contents: TreeContents) -> None:
    """The tree is whole: a later process may build on it. Raises SourceError."""
    with _explained(commit):
        contents.save(tree.contents_file)
        tree.commit_file.write_text(commit, "ascii")


def lay_submodule(mirror: Path, tree: WorkTree, contents: TreeContents, path: str) -> None:
    """Fill the folder of a submodule that the trees name. Raises SourceError."""
    commit = contents.gitlinks[path]
    with _explained(f"{commit} (submodule {path})"):
        repository = pygit2.Repository(str(mirror))
        rewriting = _Rewriting(repository, tree.files, contents)
        rewriting.empty(path)
        rewriting.apply(None, repository[commit].peel(pygit2.Tree), below=path)
        contents.laid[path] = commit


def empty_submodule(tree: WorkTree, contents: TreeContents, path: str) -> None:
    """A submodule that is not wanted (any more) is an empty folder. Raises SourceError."""
    with _explained(f"submodule {path}"):
        _Rewriting(None, tree.files, contents).empty(path)


def restore(
    repositories: Sequence[Path],
    tree: WorkTree,
    contents: TreeContents,
    submodule: str,
    path: str,
    commit: str,
) -> None:
    """Give a file the bytes that it has in a commit of its repository. Raises SourceError."""
    with _explained(f"{commit} ({path})"):
        repository = _opened(repositories)
        name = path.removeprefix(submodule + "/") if submodule else path
        entry = _entry_at(repository, commit, os.fsencode(name))
        _Rewriting(repository, tree.files, contents).write(path, entry)


def _opened(repositories: Sequence[Path]) -> pygit2.Repository:
    """The first one, with the objects of all."""
    first, *others = repositories
    repository = pygit2.Repository(str(first))
    for other in others:
        repository.odb.add_disk_alternate(str(other / "objects"))
    return repository


@contextmanager
def _explained(what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, pygit2.GitError, KeyError, ValueError) as error:
        raise SourceError(f"the source at {what} can't be laid out: {error}") from error


def _changed_in_place(
    repository: pygit2.Repository, tree: WorkTree, before: str | None, new: pygit2.Tree
) -> TreeContents | None:
    """Rewrite what differs from the commit before; None if that commit is no longer known."""
    contents = TreeContents.load(tree.contents_file)
    if before is None or contents is None or not tree.files.is_dir():
        return None
    try:
        old = repository[before].peel(pygit2.Tree)
        _Rewriting(repository, tree.files, contents).apply(old, new)
    except (OSError, KeyError, ValueError, pygit2.GitError) as error:
        logger.info("work tree %s is made anew: %r", tree.folder, error)
        return None
    return contents


class _Rewriting:
    """Applies the difference of two trees to a folder; subtrees that are equal aren't looked at."""

    def __init__(
        self, repository: pygit2.Repository | None, root: Path, contents: TreeContents
    ) -> None:
        self._repository = repository
        self._root = os.fsencode(root)
        self._contents = contents

    def empty(self, path: str) -> None:
        """Make a submodule's folder an empty one; it stays a place for a submodule."""
        commit = self._contents.gitlinks[path]
        folder = os.path.join(self._root, os.fsencode(path))
        self._remove(folder)
        os.mkdir(folder, 0o755)
        self._contents.gitlinks[path] = commit

    def write(self, path: str, entry: pygit2.Object) -> None:
        """Write one file anew."""
        full = os.path.join(self._root, os.fsencode(path))
        self._remove(full)
        self._write(full, entry)

    def apply(self, old: pygit2.Tree | None, new: pygit2.Tree, *, below: str = "") -> None:
        """From `old` to `new`, in the folder `below` the root."""
        start = os.path.join(self._root, os.fsencode(below)) if below else self._root
        todo = [(start, old, new)]
        while todo:
            folder, before, after = todo.pop()
            had = _entries(before)
            wanted = _entries(after)
            for name in had.keys() - wanted.keys():
                self._remove(os.path.join(folder, name))
            for name, entry in wanted.items():
                path = os.path.join(folder, name)
                earlier = had.get(name)
                if earlier is not None and _same(earlier, entry):
                    continue
                if entry.filemode == FileMode.TREE:
                    inner = self._enter(path, earlier)
                    todo.append((path, inner, self._object(entry).peel(pygit2.Tree)))
                else:
                    self._remove(path)
                    self._write(path, entry)

    def _enter(self, path: bytes, earlier: pygit2.Object | None) -> pygit2.Tree | None:
        """Make the folder, unless it is there; return the tree it holds."""
        if earlier is not None and earlier.filemode == FileMode.TREE:
            return self._object(earlier).peel(pygit2.Tree)
        self._remove(path)
        os.mkdir(path, 0o755)
        return None

    def _object(self, entry: pygit2.Object) -> pygit2.Object:
        if self._repository is None:
            raise KeyError(entry.id)
        return self._repository[entry.id]

    def _name(self, path: bytes) -> str:
        return os.fsdecode(path[len(self._root) + 1 :])

    def _remove(self, path: bytes) -> None:
        self._contents.forget(self._name(path))
        _remove(path)

    def _write(self, path: bytes, entry: pygit2.Object) -> None:
        if entry.filemode == FileMode.COMMIT:
            os.mkdir(path, 0o755)  # a submodule: an empty folder, as in a plain clone
            self._contents.gitlinks[self._name(path)] = str(entry.id)
            return
        data = self._object(entry).peel(pygit2.Blob).data
        if entry.filemode == FileMode.LINK:
            os.symlink(data, path)
            return
        mode = 0o755 if entry.filemode == FileMode.BLOB_EXECUTABLE else 0o644
        # Exclusive, and a parent is always a folder made here: nothing is written through a link.
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        with open(number, "wb") as file:
            os.fchmod(number, mode)
            file.write(data)
        if pointed := pointed_object(data):
            self._contents.pointers[self._name(path)] = pointed


def _entry_at(repository: pygit2.Repository, commit: str, name: bytes) -> pygit2.Object:
    *folders, last = name.split(b"/")
    tree = repository[commit].peel(pygit2.Tree)
    for folder in folders:
        tree = repository[_entries(tree)[folder].id].peel(pygit2.Tree)
    return _entries(tree)[last]


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
