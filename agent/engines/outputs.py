"""Collecting a step's outputs from its workspace: the meaning of `outputPaths`.

A path is a file, or a folder with all below it. `*`, `?` and `[…]` match within one name, hidden
names too; `**` matches any number of folders. A symbolic link gives what it points to, as long as
that is inside the workspace.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

GLOB_CHARACTERS = frozenset("*?[")


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
    workspace: Path, patterns: Sequence[str], destination: Path, *, owner: int | None = None
) -> tuple[str, ...]:
    """Copy what the patterns name to `destination`; return notes on what could not be taken.

    Blocking. `owner`, if given, is the only user whose files are taken: a hard link to somebody
    else's file is refused.
    """
    collection = _Collection(workspace=workspace, destination=destination, owner=owner)
    for pattern in patterns:
        collection.take_pattern(pattern)
    return tuple(collection.notes)


class _Collection:
    def __init__(self, *, workspace: Path, destination: Path, owner: int | None) -> None:
        self.notes: list[str] = []
        self._root = os.path.realpath(workspace)
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
        if os.path.lexists(os.path.join(self._root, literal)):
            yield literal
        elif any(GLOB_CHARACTERS & set(name) for name in names):
            yield from self._walk_matches(names)

    def _walk_matches(self, names: Sequence[str]) -> Iterator[str]:
        # With a list of its own instead of recursion: scripts make folders of any depth.
        todo: list[tuple[str, ...]] = [()]
        while todo:
            above = todo.pop()
            for name in self._list("/".join(above)):
                path = (*above, name)
                if matches(names, path):
                    yield "/".join(path)
                elif stat.S_ISDIR(os.lstat(self._real(path)).st_mode):
                    todo.append(path)

    def _real(self, names: Sequence[str]) -> str:
        return os.path.join(self._root, *names)

    def _list(self, relative: str) -> list[str]:
        folder = os.path.join(self._root, relative)
        try:
            _make_readable(folder, os.stat(folder).st_mode)
            return sorted(os.listdir(folder))
        except OSError as error:
            self._refuse(relative, f"can't be read ({error.strerror})")
            return []

    def _take(self, relative: str) -> None:
        """Copy one file, or a folder with all below it."""
        todo: list[tuple[str, frozenset[str]]] = [(relative, frozenset())]
        while todo:
            path, above = todo.pop()
            try:
                folder = self._take_one(path, above)
            except OSError as error:
                self._refuse(path, f"can't be read ({error.strerror})")
                continue
            if folder is not None:
                prefix = f"{path}/" if path else ""
                below = above | {folder}
                todo.extend((prefix + name, below) for name in reversed(self._list(path)))

    def _take_one(self, relative: str, above: frozenset[str]) -> str | None:
        """Copy a file; of a folder return its real path. `above`: the real folders above it."""
        real = os.path.realpath(os.path.join(self._root, relative))
        if not (real == self._root or real.startswith(self._root + os.sep)):
            self._refuse(relative, "is a link to outside the workspace")
            return None
        status = os.stat(real, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            if real not in above:
                return real
            self._refuse(relative, "is a link to a folder above itself")
        elif not stat.S_ISREG(status.st_mode):
            self._refuse(relative, "is neither a file nor a folder")
        elif self._owner is not None and status.st_uid != self._owner:
            self._refuse(relative, "belongs to another user")
        elif relative not in self._taken:
            self._taken.add(relative)
            self._copy(real, relative, status.st_mode)
        return None

    def _copy(self, real: str, relative: str, mode: int) -> None:
        target = self._destination / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        _make_readable(real, mode)
        shutil.copyfile(real, target, follow_symlinks=False)
        os.chmod(target, stat.S_IMODE(mode) & 0o777 | stat.S_IRUSR)

    def _refuse(self, relative: str, why: str) -> None:
        shown = relative.encode("utf-8", "backslashreplace").decode()
        self.notes.append(f"outputPaths: {shown} {why}; not stored.")


def _make_readable(path: str, mode: int) -> None:
    """Scripts take rights away even from their own user, who may be the agent's."""
    needed = stat.S_IRUSR | (stat.S_IXUSR if stat.S_ISDIR(mode) else 0)
    if mode & needed != needed:
        os.chmod(path, stat.S_IMODE(mode) | needed)
