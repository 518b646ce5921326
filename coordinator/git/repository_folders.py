"""Where the repositories lie on disk: making one, and removing what killed processes leave."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

DEFAULT_MAX_INPUT_BYTES = 500 * 1024 * 1024
# Old but harmless faults that histories of well-known projects carry, and that no one can mend
# without rewriting them.
TOLERATED_FAULTS = ("badTimezone", "missingSpaceBeforeDate", "zeroPaddedFilemode")
_PROJECT_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class InvalidProjectId(ValueError):
    """A project id that is not a lower-case UUID: no path is made from it."""


def repository_path(root: Path, project_id: str) -> Path:
    """Where a project's repository lies. Raises InvalidProjectId."""
    if not _PROJECT_ID.fullmatch(project_id):
        raise InvalidProjectId(project_id)
    return root / f"{project_id}.git"


def create_repository(path: Path, max_input_bytes: int) -> None:
    import pygit2

    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".creating-", dir=path.parent) as scratch:
        fresh = Path(scratch, "repository.git")
        repository = pygit2.init_repository(fresh, bare=True, initial_head="main")
        repository.free()
        configure(fresh / "config", max_input_bytes)
        try:
            fresh.rename(path)
        except OSError:
            if not path.exists():
                raise
    sync_folder(path.parent)


def configure(config_file: Path, max_input_bytes: int) -> None:
    """Add how our repositories are set up."""
    import pygit2

    config = pygit2.Config(str(config_file))
    settings: dict[str, str | bool | int] = {
        "transfer.fsckObjects": True,
        "receive.fsckObjects": True,
        "receive.maxInputSize": max_input_bytes,
        "receive.denyDeletes": False,
        "receive.denyDeleteCurrent": "ignore",
        "receive.denyNonFastForwards": False,
        # A rejected or superseded commit stays fetchable until we collect garbage (garbage.py).
        "receive.autogc": False,
        "gc.auto": 0,
        "maintenance.auto": False,
        "http.receivepack": False,
        "uploadpack.allowAnySHA1InWant": True,
        "uploadpack.allowReachableSHA1InWant": True,
        "uploadpack.allowFilter": True,
        "core.hooksPath": os.devnull,
        # What a ref pointed to between two looks at it is built, too.
        "core.logAllRefUpdates": True,
        # A ref that is announced as built must still have its objects after a power cut.
        "core.fsync": "committed",
        "core.fsyncMethod": "batch",
        # Deletions of different branches share this lock; git gives up after one second.
        "core.packedRefsTimeout": 30_000,
        "core.filesRefLockTimeout": 10_000,
        **{f"receive.fsck.{fault}": "warn" for fault in TOLERATED_FAULTS},
    }
    for key, value in settings.items():
        config[key] = value


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(root: Path, older_than_seconds: float) -> int:
    limit, removed = time.time() - older_than_seconds, 0
    for path in list(_leftovers(root)):
        # Its owner may live after all and remove it first.
        with suppress(FileNotFoundError):
            if path.lstat().st_mtime < limit:
                _remove(path)
                removed += 1
    return removed


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def _leftovers(root: Path) -> Iterator[Path]:
    yield from root.glob(".creating-*")
    yield from root.glob(".changing-*")
    for repository in root.glob("*.git"):
        yield from repository.glob("*.lock")
        yield from repository.glob("refs/**/*.lock")
        yield from repository.glob("objects/tmp_objdir-*")
        yield from repository.glob("objects/*.lock")
        yield from repository.glob("objects/pack/*.lock")
        yield from repository.glob("objects/pack/.tmp-*")
        yield from repository.glob("objects/pack/tmp_*")
        yield from repository.glob("garbage/*/pack/.tmp-*")


def folder_bytes(path: Path) -> int:
    """Of all files below; those that go meanwhile count as nothing."""
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            with suppress(FileNotFoundError):
                total += os.lstat(os.path.join(folder, name)).st_size
    return total
