"""Collecting a step's outputs from its workspace: the meaning of `outputPaths`.

A path is a file, or a folder with all below it. `*`, `?` and `[…]` match within one name, hidden
names too; `**` matches any number of folders. A symbolic link gives what it points to, as long as
that is inside the workspace.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from agent.engines.beneath import open_beneath, opened_beneath, opened_folder, path_of

GLOB_CHARACTERS = frozenset("*?[")
COPY_BYTES = 1024 * 1024


class OutsideWorkspaceError(ValueError):
    """The pattern is absolute or climbs above the workspace."""


def parse_pattern(pattern: str) -> tuple[str, ...]:
    """The names of a pattern; empty for the workspace itself. Raises OutsideWorkspaceError."""
    path = PurePosixPath(pattern)
    if path.is_absolute() or ".." in path.parts or "\0" in pattern:
        raise OutsideWorkspaceError(pattern)
    return path.parts


def matches(pattern: Sequence[str], path: Sequence[str]) -> bool:
    """Whether the names of a path match the names of a pattern, `**` being any number of them."""
    reachable = {0}
    for name in path:
        reachable = _skip_stars(pattern, reachable)
        step = set()
        for index in reachable:
            if index == len(pattern):
                continue
            if pattern[index] == "**":
                step.add(index)
            elif fnmatchcase(name, pattern[index]):
                step.add(index + 1)
        reachable = step
    return len(pattern) in _skip_stars(pattern, reachable)


def _skip_stars(pattern: Sequence[str], indexes: set[int]) -> set[int]:
    skipped = set(indexes)
    for index in indexes:
        while index < len(pattern) and pattern[index] == "**":
            index += 1
            skipped.add(index)
    return skipped


def collect_outputs(
    workspace: Path,
    patterns: Sequence[str],
    destination: Path,
    *,
    owner: int | None = None,
    above: Path | None = None,
) -> tuple[str, ...]:
    """Copy what the patterns name to `destination`; return notes on what could not be taken.

    Blocking. `owner`, if given, is the only user whose files are taken: a hard link to somebody
    else's file is refused. The workspace may be changed meanwhile, and it may have been put in
    another's place: only what lies below `above`, a folder of ours, without a link on the way, is
    taken for it (else below the workspace's own parent).
    """
    above = above or workspace.parent
    inside = str(workspace.relative_to(above))
    with (
        opened_folder(above) as folder,
        opened_beneath(folder, inside, os.O_PATH | os.O_DIRECTORY, follow=False) as root,
    ):
        collection = _Collection(root=root, destination=destination, owner=owner)
        for pattern in patterns:
            collection.take_pattern(pattern)
        return tuple(collection.notes)


class _Collection:
    """Everything in the workspace is reached by descriptors that can't leave it, and what was
    looked at is what is read: its owner may swap files, folders and links all the while."""

    def __init__(self, *, root: int, destination: Path, owner: int | None) -> None:
        self.notes: list[str] = []
        self._root = root
        self._destination = destination
        self._owner = owner
        self._taken: set[str] = set()

    def take_pattern(self, pattern: str) -> None:
        try:
            names = parse_pattern(pattern)
        except OutsideWorkspaceError:
            self.notes.append(f"outputPaths: {pattern} points outside the workspace; not stored.")
            return
        found = False
        for relative in self._find(names):
            found = True
            self._take(relative)
        if not found:
            self.notes.append(f"outputPaths: nothing matches {pattern}")

    def _find(self, names: Sequence[str]) -> Iterator[str]:
        literal = "/".join(names)
        if self._is_there(literal):
            yield literal
        elif any(GLOB_CHARACTERS & set(name) for name in names):
            yield from self._walk_matches(names)

    def _is_there(self, relative: str) -> bool:
        """Also a link that leads nowhere: it is refused by its name, not passed over."""
        try:
            with opened_beneath(self._root, relative, os.O_PATH | os.O_NOFOLLOW):
                return True
        except OSError as error:
            return error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)

    def _walk_matches(self, names: Sequence[str]) -> Iterator[str]:
        # With a list of its own instead of recursion: scripts make folders of any depth.
        todo: list[tuple[str, ...]] = [()]
        while todo:
            above = todo.pop()
            for name, is_folder in self._list("/".join(above)):
                path = (*above, name)
                if matches(names, path):
                    yield "/".join(path)
                elif is_folder:
                    todo.append(path)

    def _list(self, relative: str) -> list[tuple[str, bool]]:
        """Names in a folder, each with whether it is a folder itself; a link to one is none."""
        try:
            with self._opened(relative) as folder:
                self._make_readable(folder)
                listed = os.open(path_of(folder), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                with os.scandir(listed) as entries:
                    return sorted(
                        (entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries
                    )
            finally:
                os.close(listed)
        except OSError as error:
            self._refuse(relative, _why(error))
            return []

    @contextmanager
    def _opened(self, relative: str) -> Iterator[int]:
        """What the path stands for: of a link, what it leads to inside the workspace."""
        try:
            descriptor = open_beneath(self._root, relative, os.O_PATH)
        except OSError as error:
            inside = self._inside(relative) if error.errno == errno.EXDEV else None
            if inside is None:
                raise
            descriptor = open_beneath(self._root, inside, os.O_PATH, follow=False)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _inside(self, relative: str) -> str | None:
        """Where an absolute link leads to, if that is in the workspace as we see it. Only a hint:
        what is opened then is held below the workspace all the same."""
        root = os.readlink(path_of(self._root))
        real = os.path.realpath(os.path.join(root, relative))
        if real != root and not real.startswith(root + os.sep):
            return None
        return os.path.relpath(real, root)

    def _take(self, relative: str) -> None:
        """Copy one file, or a folder with all below it."""
        todo: list[tuple[str, frozenset[tuple[int, int]]]] = [(relative, frozenset())]
        while todo:
            path, above = todo.pop()
            try:
                folder = self._take_one(path, above)
            except OSError as error:
                self._refuse(path, _why(error))
                continue
            if folder is not None:
                prefix = f"{path}/" if path else ""
                below = above | {folder}
                todo.extend((prefix + name, below) for name, _ in reversed(self._list(path)))

    def _take_one(self, relative: str, above: frozenset[tuple[int, int]]) -> tuple[int, int] | None:
        """Copy a file; of a folder return which it is. `above`: the folders above it."""
        with self._opened(relative) as found:
            status = os.fstat(found)
            if stat.S_ISDIR(status.st_mode):
                folder = status.st_dev, status.st_ino
                if folder not in above:
                    return folder
                self._refuse(relative, "is a link to a folder above itself")
            elif not stat.S_ISREG(status.st_mode):
                self._refuse(relative, "is neither a file nor a folder")
            elif self._owner is not None and status.st_uid != self._owner:
                self._refuse(relative, "belongs to another user")
            elif relative not in self._taken:
                self._taken.add(relative)
                self._copy(found, relative, status)
        return None

    def _copy(self, found: int, relative: str, status: os.stat_result) -> None:
        target = self._destination / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        self._make_readable(found)
        with open(path_of(found), "rb", buffering=0) as source, open(target, "xb") as copy:
            # No more than it had: somebody may still be writing to it.
            left = status.st_size
            while left and (data := source.read(min(left, COPY_BYTES))):
                copy.write(data)
                left -= len(data)
            os.fchmod(copy.fileno(), stat.S_IMODE(status.st_mode) & 0o777 | stat.S_IRUSR)

    def _make_readable(self, found: int) -> None:
        """Scripts take rights away even from their own user, who is the agent's where `owner` is
        not given. Root needs none, and changes nothing that is not its own."""
        if os.geteuid() == 0:
            return
        mode = os.fstat(found).st_mode
        needed = stat.S_IRUSR | (stat.S_IXUSR if stat.S_ISDIR(mode) else 0)
        if mode & needed != needed:
            os.chmod(path_of(found), stat.S_IMODE(mode) | needed)

    def _refuse(self, relative: str, why: str) -> None:
        shown = relative.encode("utf-8", "backslashreplace").decode()
        self.notes.append(f"outputPaths: {shown} {why}; not stored.")


def _why(error: OSError) -> str:
    if error.errno == errno.EXDEV:
        return "is a link to outside the workspace"
    return f"can't be read ({error.strerror})"
