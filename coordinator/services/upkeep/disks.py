"""The file systems that the coordinator writes to, which may be one, or one for each."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from coordinator.settings import Settings

REPOSITORIES = "repositories"


def disks_of(settings: Settings) -> Mapping[str, Path]:
    """What is kept there, `data`, `objects` or `repositories` → its folder; once for each file
    system. Blocking."""
    folders = {
        "data": settings.data,
        "objects": settings.objects_location,
        REPOSITORIES: settings.data / REPOSITORIES,
    }
    found: dict[int, tuple[str, Path]] = {}
    for name, folder in folders.items():
        if isinstance(folder, Path) and folder.is_dir():
            found.setdefault(folder.stat().st_dev, (name, folder))
    return dict(found.values())


def free_bytes(folder: Path) -> int:
    room = os.statvfs(folder)
    return room.f_bavail * room.f_frsize
