"""An installation made of a backup, in a folder where there was none.

A mark stands in the data folder from before the first file to after the last, and no coordinator
starts beside it: half an installation would look like one whose objects are lost. A restore that
was killed goes on where it was.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath

from coordinator.backup.errors import BackupDamaged, Occupied, writing_to
from coordinator.backup.folder import BackupFolder, copy
from coordinator.backup.making import DATABASE
from coordinator.backup.manifest import Entry, Manifest
from coordinator.backup.tree import OBJECTS
from coordinator.domain.generation import Generation
from coordinator.place import RESTORING, only_one_restores
from coordinator.services.keys import write_private
from coordinator.storage.generations import begin_generation
from coordinator.storage.migrate import known_revisions, migrate_apart
from coordinator.storage.soundness import check_sound

_GIT_FOLDERS = ("refs/heads", "refs/tags", "objects/info", "objects/pack")
"""Which git wants to see, and which may be empty."""
_OWN = frozenset({"lock", RESTORING})


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    manifest: Manifest
    generation: Generation


def restore_backup(
    root: Path, data: Path, *, objects: str | Path | None = None, at: str | None, now: datetime
) -> Restored:
    """Blocking. `objects`: the folder of the object store, if it is not to be in the data folder,
    or a URL. `at` names one of the folder's backups, None the newest.

    Raises BackupError, DatabaseUnusable, MigrationFailed, OSError.
    """
    folder = BackupFolder.at(root)
    manifest = folder.manifest(at)
    _check_empty(data, manifest)
    objects = objects or data / OBJECTS
    if isinstance(objects, str):
        _check_without_objects(manifest)
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    data.chmod(0o700)
    with (
        writing_to(data, go_on="make some, and run this again: it goes on where it stopped"),
        only_one_restores(data),
    ):
        write_private(data / RESTORING, manifest.head.id.encode())
        return _restore(folder, manifest, data, Path(objects), now)


def _restore(
    folder: BackupFolder, manifest: Manifest, data: Path, objects: Path, now: datetime
) -> Restored:
    for entry in manifest.entries:
        if entry.path != DATABASE:
            place = data / entry.path
            if is_object(entry):
                place = objects / PurePosixPath(entry.path).relative_to(OBJECTS)
            _put(folder, entry, place)
    for repository in (data / "repositories").glob("*.git"):
        for name in _GIT_FOLDERS:
            (repository / name).mkdir(parents=True, exist_ok=True)
    [database] = [entry for entry in manifest.entries if entry.path == DATABASE]
    fresh = data / f"{DATABASE}.restored"
    for left in _beside(fresh):
        left.unlink(missing_ok=True)
    _put(folder, database, fresh)
    check_sound(fresh, known_revisions=known_revisions())
    migrate_apart(fresh)
    generation = begin_generation(fresh, backed_up_at=manifest.head.backed_up_at, restored_at=now)
    os.sync()
    fresh.replace(data / DATABASE)
    os.sync()
    (data / RESTORING).unlink()
    return Restored(manifest=manifest, generation=generation)


def _put(folder: BackupFolder, entry: Entry, place: Path) -> None:
    """Raises BackupDamaged."""
    if _is_there(entry, place):
        return
    place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # No name of ours or of git's ends so, and git would take a file in its folders for its own.
    incoming = place.with_name(f"{place.name}.restoring.lock")
    try:
        with folder.content_path(entry.sha256).open("rb") as source, incoming.open("wb") as target:
            size, sha256 = copy(source, target)
    except FileNotFoundError as error:
        raise _damaged(folder, entry) from error
    if (size, sha256) != (entry.size, entry.sha256):
        incoming.unlink()
        raise _damaged(folder, entry)
    incoming.chmod(entry.mode)
    incoming.replace(place)


def _damaged(folder: BackupFolder, entry: Entry) -> BackupDamaged:
    others = ", ".join(folder.names())
    return BackupDamaged(
        f"{entry.path} is damaged or missing in {folder.root}: `pushrod backup --check` says what "
        f"else is; restore another backup of this folder with --at (it has {others})"
    )


def _is_there(entry: Entry, place: Path) -> bool:
    """From an earlier try."""
    try:
        if place.stat().st_size != entry.size:
            return False
        with place.open("rb") as file:
            return copy(file, None)[1] == entry.sha256
    except FileNotFoundError:
        return False


def is_object(entry: Entry) -> bool:
    return PurePosixPath(entry.path).is_relative_to(OBJECTS)


def _check_without_objects(manifest: Manifest) -> None:
    """Raises Occupied."""
    if any(map(is_object, manifest.entries)):
        raise Occupied(
            "this backup has logs and artifacts in files, and the setting `objects` names a "
            "bucket: restore without that setting, copy `objects` of the data folder to the "
            "bucket, and set it again"
        )


def _check_empty(data: Path, manifest: Manifest) -> None:
    """Raises Occupied."""
    if not data.exists():
        return
    try:
        begun = (data / RESTORING).read_text()
    except FileNotFoundError:
        begun = None
    if begun == manifest.head.id:
        return
    if begun is not None:
        raise Occupied(
            f"a restore of {begun} to {data} was not finished: go on with --at {begun}, or empty "
            "that folder first"
        )
    if any(path.name not in _OWN for path in data.iterdir()):
        raise Occupied(
            f"{data} has something in it already: a restore overwrites nothing. Name a new folder, "
            "or move that one away first"
        )


def _beside(path: Path) -> Iterator[Path]:
    yield path
    for ending in ("-wal", "-shm", "-journal"):
        yield path.with_name(path.name + ending)
