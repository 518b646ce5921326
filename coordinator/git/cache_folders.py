"""The folder of a repository whose truth is elsewhere. Blocking.

A stamp, written last, says what it holds: whatever a kill leaves has none, or another one, and is
brought to what is stored: packs by their names and sizes, all else anew.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from coordinator.domain.pushes.stored_repository import (
    RefChange,
    RepositoryChange,
    StoredPack,
    StoredRepository,
)
from coordinator.git import pack_files, ref_files
from coordinator.git.drafts import Draft, take_notes
from coordinator.git.repository_folders import configure, create_repository, sync_folder

STAMP = "pushrod-stamp"
_FOLDERS = ("refs", "objects", "objects/pack")


def is_repository(repository: Path) -> bool:
    return (repository / "HEAD").is_file() and (repository / "config").is_file()


def read_stamp(repository: Path) -> str | None:
    try:
        return (repository / STAMP).read_text()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _write_stamp(repository: Path, stamp: str) -> None:
    sync_folder(repository / "objects" / "pack")
    sync_folder(repository)
    ref_files.replace_file(repository / STAMP, stamp.encode())


def all_new(refs: Mapping[str, str]) -> Mapping[str, RefChange]:
    return {ref: RefChange(old=None, new=sha) for ref, sha in refs.items()}


def settle(repository: Path, refs: Mapping[str, str], stamp: str) -> None:
    """One that was stored as it is."""
    ref_files.write_refs(repository, refs)
    _write_stamp(repository, stamp)


def apply(
    repository: Path,
    draft: Draft,
    change: RepositoryChange,
    refs: Mapping[str, str],
    now: datetime,
    stamp: str,
) -> None:
    """What was stored of the draft, in an order in which readers never miss an object."""
    for pack in change.new_packs:
        source = pack_files.folder_of(draft.path, pack.aside) / pack.name
        pack_files.move_pack(source, pack_files.folder_of(repository, pack.aside))
    if change.refs:
        ref_files.write_refs(repository, refs)
        ref_files.drop_logs(repository, change.gone_refs)
        ref_files.add_moves(repository, change.moves_at(now))
    if change.head is not None:
        ref_files.write_head(repository, change.head)
    for place in change.gone_packs:
        pack_files.remove_pack(repository, place)
    take_notes(draft, repository)
    _write_stamp(repository, stamp)


def begin(
    repository: Path, packs: Sequence[StoredPack], *, max_input_bytes: int
) -> Sequence[StoredPack]:
    """Make it hold none but these packs; those that it has not."""
    with suppress(FileNotFoundError, NotADirectoryError):
        (repository / STAMP).unlink()
    if repository.exists() and not is_repository(repository):
        shutil.rmtree(repository)
    create_repository(repository, max_input_bytes)
    for folder in _FOLDERS:
        (repository / folder).mkdir(exist_ok=True)
    (repository / "config").unlink()
    configure(repository / "config", max_input_bytes)
    for lock in repository.glob("*.lock"):
        lock.unlink()
    here = pack_files.packs_of(repository)
    whole = {
        pack.place
        for pack in packs
        if (path := here.get(pack.place)) is not None
        and path.with_suffix(".pack").stat().st_size == pack.pack_bytes
        and path.with_suffix(".idx").stat().st_size == pack.index_bytes
    }
    pack_files.remove_strangers(repository, whole)
    return [pack for pack in packs if pack.place not in whole]


def coming(repository: Path, pack: StoredPack) -> Path:
    """Where a pack comes to, without the suffix; a kill leaves there what `begin` removes."""
    folder = pack_files.folder_of(repository, pack.aside)
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"tmp_{pack.name}"


def came(repository: Path, pack: StoredPack, path: Path) -> None:
    folder = pack_files.folder_of(repository, pack.aside)
    then = pack.created_at.timestamp()
    for suffix in (".pack", ".idx"):
        file = path.with_suffix(suffix)
        # By its age git tells what a push may be about to need.
        os.utime(file, (then, then))
        file.chmod(0o444)
        os.replace(file, folder / f"{pack.name}{suffix}")


def finish(repository: Path, wanted: StoredRepository) -> None:
    """It has all its packs."""
    ref_files.write_refs(repository, wanted.refs)
    ref_files.write_head(repository, wanted.head)
    moves = [move for move in wanted.moves if move.ref in wanted.refs]
    ref_files.write_moves(repository, moves)
    _write_stamp(repository, wanted.stamp)
