"""The folder of backups: contents by their digests, a manifest for each backup.

A content is written beside its place and moved there once its digest is known, a manifest once
all that it names is there. A killed backup leaves the earlier ones as they are, and its contents
for the next, which finds by `unfinished` what they are.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from coordinator.backup.errors import BackupDamaged, BackupError, NoBackup, Occupied
from coordinator.backup.manifest import FORMAT, Entry, Manifest, load_manifest, read_entries
from coordinator.services.keys import write_private

MARK = "pushrod-backups"
CHUNK_BYTES = 1024 * 1024


@dataclass(slots=True)
class BackupFolder:
    root: Path
    copied_files: int = 0
    copied_bytes: int = 0
    _known: dict[str, Entry] = field(default_factory=dict)
    """What never changes, by path: of earlier backups, and of one that was not finished."""

    # Finding

    @classmethod
    def at(cls, root: Path) -> BackupFolder:
        """Raises NoBackup, BackupError."""
        folder = cls(root.absolute())
        if not folder.root.is_dir():
            raise NoBackup(f"there is no folder {folder.root}: name one that `pushrod backup` made")
        if not (folder.root / MARK).exists():
            raise NoBackup(f"{folder.root} is no folder of backups: `pushrod backup` made others")
        folder._check_format()
        return folder

    @classmethod
    def made_at(cls, root: Path) -> BackupFolder:
        """Made if need be. Raises Occupied for a folder of something else, BackupError."""
        folder = cls(root.absolute())
        folder.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not (folder.root / MARK).exists():
            if any(folder.root.iterdir()):
                raise Occupied(
                    f"{folder.root} has other files in it: name an empty or a new folder"
                )
            folder.root.chmod(0o700)
            write_private(folder.root / MARK, json.dumps({"format": FORMAT}).encode() + b"\n")
        folder._check_format()
        for name in ("backups", "files", "incoming"):
            (folder.root / name).mkdir(exist_ok=True, mode=0o700)
        return folder

    def _check_format(self) -> None:
        try:
            found = json.loads((self.root / MARK).read_bytes())["format"]
        except (ValueError, KeyError, TypeError) as error:
            raise BackupDamaged(f"{self.root / MARK} is not as it was written") from error
        if found != FORMAT:
            raise BackupError(
                f"{self.root} is of a newer pushrod (format {found}, this one knows {FORMAT}): "
                "use that version, or name another folder"
            )

    def names(self) -> list[str]:
        """Of the backups, oldest first."""
        return sorted(path.stem for path in (self.root / "backups").glob("*.jsonl"))

    def manifest(self, name: str | None = None) -> Manifest:
        """The newest for None. Raises NoBackup, BackupDamaged."""
        names = self.names()
        if not names:
            raise NoBackup(
                f"no backup in {self.root} was finished: let `pushrod backup` come to its end there"
            )
        if name is not None and name not in names:
            raise NoBackup(f"{self.root} has no backup {name}: it has {', '.join(names)}")
        return load_manifest(self._manifest_path(name or names[-1]))

    def _manifest_path(self, name: str) -> Path:
        return self.root / "backups" / f"{name}.jsonl"

    def content_path(self, sha256: str) -> Path:
        return self.root / "files" / sha256[:2] / sha256

    def has(self, sha256: str, size: int) -> bool:
        try:
            return self.content_path(sha256).stat().st_size == size
        except FileNotFoundError:
            return False

    # Writing

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Raises Occupied while another backup is made here."""
        with (self.root / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise Occupied(f"another backup is being made in {self.root}") from error
            for left in (self.root / "incoming").iterdir():
                left.unlink()
            self._learn()
            yield

    def _learn(self) -> None:
        for name in self.names()[-1:]:
            self._known = {entry.path: entry for entry in self.manifest(name).entries}
        with suppress(FileNotFoundError):
            text = (self.root / "unfinished").read_text(errors="replace")
            for line in text.splitlines():
                with suppress(ValueError, TypeError):  # the last one of a kill
                    self._known |= {entry.path: entry for entry in read_entries([line])}

    def known(self, path: str, size: int) -> Entry | None:
        """What is known of something that never changes, if its content is here."""
        entry = self._known.get(path)
        if entry is None or entry.size != size or not self.has(entry.sha256, size):
            return None
        return entry

    def remember(self, entry: Entry) -> None:
        """Something that never changes: a backup that is killed need not copy it again."""
        with (self.root / "unfinished").open("a") as file:
            file.write(entry.line() + "\n")

    def take(self, source: BinaryIO) -> tuple[int, str]:
        """Copy a content; its size and digest."""
        incoming = self.root / "incoming" / "content"
        with incoming.open("wb") as target:
            size, sha256 = copy(source, target)
        self.take_file(incoming, size, sha256)
        return size, sha256

    def take_file(self, path: Path, size: int, sha256: str) -> None:
        """Have a file of `incoming` at its place."""
        if self.has(sha256, size):
            path.unlink()
            return
        place = self.content_path(sha256)
        place.parent.mkdir(exist_ok=True, mode=0o700)
        path.chmod(0o600)
        path.replace(place)
        self.copied_files += 1
        self.copied_bytes += size

    def finish(self, manifest: Manifest) -> None:
        """It is a backup from here on."""
        os.sync()
        manifest.save(self._manifest_path(manifest.head.id))
        os.sync()
        (self.root / "unfinished").unlink(missing_ok=True)

    def keep(self, count: int) -> int:
        """Remove all but the newest backups, and the contents that none has; how many contents."""
        for name in self.names()[:-count]:
            self._manifest_path(name).unlink()
        kept = {e.sha256 for name in self.names() for e in self.manifest(name).entries}
        return self._remove_all_but(kept)

    def _remove_all_but(self, kept: Collection[str]) -> int:
        removed = 0
        for folder in (self.root / "files").iterdir():
            for path in folder.iterdir():
                if path.name not in kept:
                    path.unlink()
                    removed += 1
        return removed

    # Reading

    def damaged(self, manifest: Manifest) -> list[Entry]:
        """Those whose content is not there, or is another. Reads everything."""
        digests = {e.sha256: e for e in manifest.entries}
        return [entry for sha256, entry in digests.items() if self._digest(sha256) != sha256]

    def _digest(self, sha256: str) -> str | None:
        try:
            with self.content_path(sha256).open("rb") as file:
                return copy(file, None)[1]
        except FileNotFoundError:
            return None


def copy(source: BinaryIO, target: BinaryIO | None) -> tuple[int, str]:
    """How many bytes there were, and their digest."""
    digest, size = hashlib.sha256(), 0
    while chunk := source.read(CHUNK_BYTES):
        digest.update(chunk)
        size += len(chunk)
        if target is not None:
            target.write(chunk)
    return size, digest.hexdigest()
