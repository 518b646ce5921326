"""Files of a data folder whose coordinator goes on, copied in an order that makes them fit.

Three kinds: what never changes once it is there (objects of the store, of git), what is replaced as
a whole (refs, keys), and what may be swapped for something else of the same meaning while it is
looked at (the chunks of a log for the folded log).
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from coordinator.backup.errors import BackupError
from coordinator.backup.folder import BackupFolder
from coordinator.backup.manifest import Entry

OBJECTS = PurePosixPath("objects")
_STAGED_OBJECT = re.compile(r".+#\d+")
_STAGED_BY_GIT = re.compile(r".*\.lock|tmp_.*|incoming-.*")
_LOCK = re.compile(r".*\.lock")
"""What the object store and git write beside a place before they move it there. A branch may have
any name that doesn't end so."""
_BLOB = re.compile(r"objects/blobs/[^/]+/[0-9a-f]{2}/([0-9a-f]{64})")
_MOST_LOOKS = 50


@dataclass(slots=True)
class TreeCopy:
    data: Path
    folder: BackupFolder
    entries: dict[str, Entry] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)
    """Paths whose content is not what their name says: copied as they are."""
    _objects: Path | None = None

    def copy_objects(self, objects: Path) -> None:
        """Of the object store in that folder: `objects` of the data folder in the backup."""
        self._objects = objects
        for path in _files(objects, _STAGED_OBJECT, skip=("logs",)):
            self._copy_lasting(path)
        for log in _folders(objects / "logs"):
            self._copy_log(log)

    def _copy_log(self, log: Path) -> None:
        """Until nothing was taken away while it was copied: folding puts the whole log there before
        the chunks go."""
        for _ in range(_MOST_LOOKS):
            before = set(_files(log, _STAGED_OBJECT))
            for path in sorted(before):
                self._copy_lasting(path)
            after = set(_files(log, _STAGED_OBJECT))
            if before <= after:
                return
            for path in before - after:
                self.entries.pop(self._name(path), None)
        raise BackupError(f"{log} changes all the time: run the backup again")

    def copy_repository(self, repository: Path) -> None:
        """First what names commits, then the objects: these only grow while deletions are paused.
        Loose refs before the packed ones, which is how git moves them."""
        for name in ("refs", "logs", "packed-refs", "HEAD", "config"):
            path = repository / name
            for file in _files(path, _LOCK) if path.is_dir() else [path]:
                self.copy_changing(file)
        done: set[Path] = set()
        while more := set(_files(repository / "objects", _STAGED_BY_GIT)) - done:
            done |= more
            for path in sorted(more):
                self._copy_git_object(path)

    def _copy_git_object(self, path: Path) -> None:
        """The index of a pack that was not there yet when its folder was listed comes with it in
        the next round, or never was anybody's."""
        if path.suffix in (".idx", ".rev") and not path.with_suffix(".pack").exists():
            return
        self._copy_lasting(path)

    def copy_changing(self, path: Path) -> None:
        """Nothing where it has gone."""
        self._copy(path)

    def _copy_lasting(self, path: Path) -> None:
        name = self._name(path)
        if name in self.entries:
            return
        try:
            found = path.lstat()
        except FileNotFoundError:
            return
        known = self.folder.known(name, found.st_size) or self._known_by_name(name, found)
        if known is None:
            known = self._copy(path)
            if known is None:
                return
            self.folder.remember(known)
        self.entries[name] = known

    def _known_by_name(self, name: str, found: os.stat_result) -> Entry | None:
        """A blob is named by its digest: another project's backup may have it."""
        blob = _BLOB.fullmatch(name)
        if blob is None or not self.folder.has(blob[1], found.st_size):
            return None
        return Entry(path=name, size=found.st_size, sha256=blob[1], mode=_mode(found))

    def _copy(self, path: Path) -> Entry | None:
        """None where it has gone."""
        name = self._name(path)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        with os.fdopen(descriptor, "rb") as source:
            found = os.fstat(source.fileno())
            size, sha256 = self.folder.take(source)
        blob = _BLOB.fullmatch(name)
        if blob is not None and blob[1] != sha256:
            self.damaged.append(name)
        entry = Entry(path=name, size=size, sha256=sha256, mode=_mode(found))
        self.entries[name] = entry
        return entry

    def _name(self, path: Path) -> str:
        if self._objects is not None and path.is_relative_to(self._objects):
            return (OBJECTS / path.relative_to(self._objects)).as_posix()
        return path.relative_to(self.data).as_posix()


def _mode(found: os.stat_result) -> int:
    return stat.S_IMODE(found.st_mode) & 0o777


def _folders(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from (path for path in folder.iterdir() if path.is_dir())


def _files(folder: Path, staged: re.Pattern[str], *, skip: tuple[str, ...] = ()) -> Iterator[Path]:
    """All regular files below, but those that are being written, and folders in it named `skip`."""
    for place, folders, names in os.walk(folder):
        leave = skip if Path(place) == folder else ()
        folders[:] = [name for name in folders if not staged.fullmatch(name) and name not in leave]
        for name in names:
            path = Path(place, name)
            if not staged.fullmatch(name) and not path.is_symlink():
                yield path
