"""Collecting a step's outputs from its workspace, as `output_paths` says what is meant."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.engines.beneath import opened_beneath, opened_folder, path_of
from agent.engines.output_paths import (
    Kind,
    Listed,
    Listing,
    Matches,
    OutsideWorkspaceError,
    matches,
    name_problem,
    parse_pattern,
    resolve,
    target_problem,
)

REPOSITORY = ".git"
"""Of the workspace itself: whoever takes it has one already, so only its own name means it."""
COPY_BYTES = 1024 * 1024
KEPT_BITS = 0o777
NS = 1_000_000_000
_WORDS = {
    stat.S_IFIFO: "is a named pipe",
    stat.S_IFSOCK: "is a socket",
    stat.S_IFCHR: "is a device",
    stat.S_IFBLK: "is a device",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What became of the output paths, for people."""

    notes: Sequence[str] = ()
    unkept: Sequence[str] = ()
    """What is there but can't be kept: the step fails for it."""


def collect_outputs(
    workspace: Path,
    patterns: Sequence[str],
    destination: Path,
    *,
    owner: int | None = None,
    above: Path | None = None,
    seen_as: str | None = None,
    types: Mapping[str, int] | None = None,
) -> Collected:
    """Copy what the patterns name to `destination`: files, folders and links, with the permission
    bits. Of files the times stay as well, in whole seconds.

    Blocking. `owner`, if given, is the only user whose files are taken: a hard link to somebody
    else's file is refused. The workspace may be changed meanwhile, and it may have been put in
    another's place: only what lies below `above`, a folder of ours, without a link on the way, is
    taken for it (else below the workspace's own parent). `seen_as`: its path for the script.
    `types`, as `stat` has them: of what stands here for something that can't be brought here.
    """
    above = above or workspace.parent
    inside = str(workspace.relative_to(above))
    with (
        opened_folder(above) as folder,
        opened_beneath(folder, inside, os.O_PATH | os.O_DIRECTORY, follow=False) as root,
    ):
        collection = _Collection(
            root=root,
            destination=destination,
            owner=owner,
            seen_as=seen_as or str(workspace),
            types=types or {},
        )
        for pattern in patterns:
            collection.take_pattern(pattern)
        collection.end()
        return Collected(notes=tuple(collection.notes), unkept=tuple(collection.unkept))


def whole_seconds(nanoseconds: int) -> int:
    """The nearest: a tar file, by which BuildKit delivers, has no parts of them. Its copies of
    folders and links don't have the times of these at all."""
    return (nanoseconds + NS // 2) // NS


class _Collection:
    """Everything in the workspace is reached by descriptors that can't leave it, and what was
    looked at is what is read: its owner may swap files, folders and links all the while. Links are
    made last, so that nothing is written through one at the destination either."""

    def __init__(
        self,
        *,
        root: int,
        destination: Path,
        owner: int | None,
        seen_as: str,
        types: Mapping[str, int],
    ) -> None:
        self.notes: list[str] = []
        self.unkept: list[str] = []
        self._root = root
        self._destination = destination
        self._owner = owner
        self._seen_as = seen_as
        self._types = types
        self._taken: set[str] = set()
        self._folders: dict[str, os.stat_result] = {}
        self._links: dict[str, str] = {}
        self._repository_meant = False

    def take_pattern(self, pattern: str) -> None:
        try:
            names = parse_pattern(pattern)
        except OutsideWorkspaceError:
            self.notes.append(f"outputPaths: {pattern} points outside the workspace; not stored.")
            return
        self._repository_meant = names[:1] == (REPOSITORY,)
        found = self._resolve(names)
        paths = [*found.links, *self._paths_of(found)]
        for path in paths:
            self._take(path)
        for link in found.astray:
            self._refuse(link, "is a link to outside the workspace, which is not followed")
        if not paths and not found.astray:
            self.notes.append(f"outputPaths: nothing matches {pattern}")

    def end(self) -> None:
        """Make the links, then give the folders their permission bits, the inner ones first."""
        for path, target in self._links.items():
            try:
                (self._destination / path).symlink_to(target)
            except OSError as error:
                self._refuse(path, f"changed while it was collected ({error.strerror})")
        for path in sorted(self._folders, reverse=True):
            (self._destination / path).chmod(_kept_mode(self._folders[path]))

    def _resolve(self, names: tuple[str, ...]) -> Matches:
        resolution = resolve(names, self._seen_as)
        try:
            asked = next(resolution)
            while True:
                asked = resolution.send(self._listing(asked.folder))
        except StopIteration as end:
            found: Matches = end.value
            return found

    def _paths_of(self, found: Matches) -> Iterator[str]:
        for match in found.found:
            if match.rest:
                yield from self._walk_matches(match.path, match.rest)
            else:
                yield match.path

    def _walk_matches(self, folder: str, names: Sequence[str]) -> Iterator[str]:
        # With a list of its own instead of recursion: scripts make folders of any depth.
        start = tuple(folder.split("/")) if folder else ()
        todo = [start]
        while todo:
            above = todo.pop()
            for name, entry in self._listing("/".join(above)).items():
                path = (*above, name)
                if matches(names, path[len(start) :]):
                    yield "/".join(path)
                elif entry.kind is Kind.FOLDER:
                    todo.append(path)

    def _listing(self, relative: str) -> Listing:
        """What is in a folder, by name; nothing in what is none, or can't be read."""
        try:
            with opened_beneath(
                self._root, relative, os.O_PATH | os.O_DIRECTORY, follow=False
            ) as folder:
                self._make_readable(folder)
                listed = os.open(path_of(folder), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                with os.scandir(listed) as entries:
                    found = {
                        entry.name: _listed(entry, listed) for entry in sorted_by_name(entries)
                    }
            finally:
                os.close(listed)
            if not relative and not self._repository_meant:
                found.pop(REPOSITORY, None)
            return found
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG):
                self._refuse(relative, _why(error))
            return {}

    def _take(self, relative: str) -> None:
        """Keep a file or a link, or a folder with all below it."""
        todo = [relative]
        while todo:
            path = todo.pop()
            if path in self._taken:
                continue
            self._taken.add(path)
            try:
                is_folder = self._take_one(path)
            except OSError as error:
                self._refuse(path, _why(error))
                continue
            if is_folder:
                prefix = f"{path}/" if path else ""
                todo.extend(prefix + name for name in reversed(list(self._listing(path))))

    def _take_one(self, relative: str) -> bool:
        """Whether it is a folder."""
        if problem := name_problem(relative):
            self._refuse(relative, problem)
            return False
        flags = os.O_PATH | os.O_NOFOLLOW
        with opened_beneath(self._root, relative, flags, follow=False) as found:
            status = os.fstat(found)
            kind = self._types.get(relative, stat.S_IFMT(status.st_mode))
            if kind == stat.S_IFDIR:
                self._make_folder(relative, status)
                return True
            if kind == stat.S_IFLNK:
                self._keep_link(found, relative)
            elif kind != stat.S_IFREG:
                self._refuse(relative, _WORDS.get(kind, "is neither a file nor a folder"))
            elif self._owner is not None and status.st_uid != self._owner:
                self._refuse(relative, "belongs to another user")
            else:
                self._copy(found, relative, status)
        return False

    def _keep_link(self, found: int, relative: str) -> None:
        target = os.readlink("", dir_fd=found)
        if problem := target_problem(target):
            self._refuse(relative, problem)
            return
        self._make_folders_above(relative)
        self._links[relative] = target

    def _make_folder(self, relative: str, status: os.stat_result) -> None:
        if relative and relative not in self._folders:
            self._make_folders_above(relative)
            (self._destination / relative).mkdir(mode=0o700, exist_ok=True)
            self._folders[relative] = status

    def _make_folders_above(self, relative: str) -> None:
        above, _, _ = relative.rpartition("/")
        if above and above not in self._folders:
            with opened_beneath(
                self._root, above, os.O_PATH | os.O_DIRECTORY, follow=False
            ) as folder:
                status = os.fstat(folder)
            self._make_folder(above, status)

    def _copy(self, found: int, relative: str, status: os.stat_result) -> None:
        self._make_folders_above(relative)
        self._make_readable(found)
        target = self._destination / relative
        with open(path_of(found), "rb", buffering=0) as source, open(target, "xb") as copy:
            # No more than it had: somebody may still be writing to it.
            left = status.st_size
            while left and (data := source.read(min(left, COPY_BYTES))):
                copy.write(data)
                left -= len(data)
            copy.flush()
            os.fchmod(copy.fileno(), _kept_mode(status))
            seconds = whole_seconds(status.st_mtime_ns)
            os.utime(copy.fileno(), (seconds, seconds))

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
        self.unkept.append(f"outputPaths: {shown(relative)} {why}: it can't be kept.")


def sorted_by_name(entries: Iterator[os.DirEntry[str]]) -> list[os.DirEntry[str]]:
    return sorted(entries, key=lambda entry: entry.name)


def _listed(entry: os.DirEntry[str], folder: int) -> Listed:
    if entry.is_symlink():
        try:
            return Listed(Kind.LINK, os.readlink(entry.name, dir_fd=folder))
        except OSError:
            return Listed(Kind.OTHER)
    if entry.is_dir(follow_symlinks=False):
        return Listed(Kind.FOLDER)
    return Listed(Kind.FILE if entry.is_file(follow_symlinks=False) else Kind.OTHER)


def shown(name: str) -> str:
    """A path for people: without what isn't UTF-8, and in one line."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return text if text.isprintable() else repr(text)[1:-1]


def _kept_mode(status: os.stat_result) -> int:
    """Without setuid and setgid; an agent that is not root has to read them itself."""
    mode = stat.S_IMODE(status.st_mode) & KEPT_BITS
    if os.geteuid() == 0:
        return mode
    return mode | (0o500 if stat.S_ISDIR(status.st_mode) else 0o400)


def _why(error: OSError) -> str:
    if error.errno == errno.EXDEV:
        return "is a link to outside the workspace"
    return f"can't be read ({error.strerror})"
