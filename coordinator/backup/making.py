"""A backup of an installation that goes on: the database first, then what it names.

Whatever is made after the copy of the database is not in the backup; what the database names is
there, since nothing is deleted meanwhile. Of a push whose build it doesn't have yet, the repository
may have the commit: then the restored coordinator builds it at its start.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from coordinator.backup.errors import NothingToBackUp, Occupied, writing_to
from coordinator.backup.folder import BackupFolder, copy
from coordinator.backup.manifest import Entry, Head, Manifest
from coordinator.backup.tree import OBJECTS, TreeCopy
from coordinator.services.deletion_pause import deletions_paused
from coordinator.services.keys import KEY_FILE, KEY_PRINT_FILE
from coordinator.storage.backup_reading import missing_objects, snapshot
from coordinator.storage.migrate import current_revision, known_revisions
from coordinator.storage.soundness import check_sound
from coordinator.storage.whole_tables import open_source

DATABASE = "pushrod.db"
KEYS = (KEY_FILE, KEY_PRINT_FILE, "admin-token", "known_hosts")
"""Sealed secrets, steps' tokens and webhooks' signatures are worth nothing without the first; the
second says that it is a file of the operator's, which is not copied."""
SHOWN_FAULTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    manifest: Manifest
    new_files: int
    new_bytes: int
    removed_files: int
    faults: Sequence[str]
    """What the database names and the data folder doesn't have as it should: the rest is there."""


def make_backup(
    data: Path,
    root: Path,
    *,
    objects: str | Path | None = None,
    keep: int,
    now: Callable[[], datetime],
    say: Callable[[str], None],
) -> Made:
    """Blocking, for as long as it takes. `objects`: the folder of the object store, if it is not in
    the data folder; what lies at a URL is left out.

    Raises BackupError, DatabaseUnusable, OSError.
    """
    _check_places(data, root)
    go_on = "make some, or name another folder; a further run copies only what is missing"
    with writing_to(root, go_on=go_on):
        folder = BackupFolder.made_at(root)
        with folder.alone(), deletions_paused(data, waits=lambda: say(WAITS)):
            return _make(data, folder, objects or data / OBJECTS, keep=keep, now=now)


WAITS = "waiting until a deletion, or another backup, has ended"


def _make(
    data: Path,
    folder: BackupFolder,
    objects: str | Path,
    *,
    keep: int,
    now: Callable[[], datetime],
) -> Made:
    begun_at = now()
    database = folder.root / "incoming" / DATABASE
    snapshot(data / DATABASE, database)
    check_sound(database, known_revisions=known_revisions())
    head = Head(
        id=f"{begun_at:%Y%m%dT%H%M%S%fZ}",
        begun_at=begun_at.isoformat(),
        pushrod=version("pushrod"),
        schema=str(current_revision(database)),
    )
    tree = TreeCopy(data, folder)
    for name in KEYS:
        tree.copy_changing(data / name)
    for repository in sorted((data / "repositories").glob("*.git")):
        tree.copy_repository(repository)
    missing: Sequence[str] = ()
    if isinstance(objects, Path):
        tree.copy_objects(objects)
        missing = _missing(database, tree)
    faults = [f"{name} is damaged" for name in tree.damaged]
    faults += [f"{name} is missing" for name in missing]
    entries = [*tree.entries.values(), _take_database(folder, database)]
    manifest = Manifest(head=head, entries=sorted(entries, key=lambda entry: entry.path))
    folder.finish(manifest)
    return Made(
        manifest=manifest,
        new_files=folder.copied_files,
        new_bytes=folder.copied_bytes,
        removed_files=folder.keep(keep),
        faults=faults,
    )


def _missing(database: Path, tree: TreeCopy) -> list[str]:
    """What the database names and nobody found."""
    prefix = f"{OBJECTS}/"
    there = {path.removeprefix(prefix) for path in tree.entries if path.startswith(prefix)}
    engine = open_source(database)
    try:
        return [prefix + key for key in missing_objects(engine, there)]
    finally:
        engine.dispose()


def _take_database(folder: BackupFolder, database: Path) -> Entry:
    with database.open("rb") as file:
        size, sha256 = copy(file, None)
    folder.take_file(database, size, sha256)
    return Entry(path=DATABASE, size=size, sha256=sha256, mode=0o600)


def _check_places(data: Path, root: Path) -> None:
    """Raises NothingToBackUp, Occupied."""
    if not (data / DATABASE).exists():
        raise NothingToBackUp(
            f"there is no database in {data}: name the coordinator's folder with --data"
        )
    inside, outside = root.resolve(), data.resolve()
    if inside == outside or outside in inside.parents or inside in outside.parents:
        raise Occupied(f"{root} and {data} lie in each other: name a folder elsewhere")
