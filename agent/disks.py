"""How much room there is where an agent and its engine write."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskSpace:
    """In bytes, for this process's user."""

    folder: Path
    free: int
    total: int


def shortest(folders: Sequence[Path]) -> DiskSpace:
    """Of the disks that these folders are on, the one with the least room; the first folder must
    be there, others may not be, or may be out of reach. Raises OSError."""
    spaces = [_space(folders[0])]
    for folder in folders[1:]:
        try:
            spaces.append(_space(folder))
        except OSError:
            continue
    return min(spaces, key=lambda space: space.free)


def _space(folder: Path) -> DiskSpace:
    disk = os.statvfs(folder)
    return DiskSpace(
        folder=folder, free=disk.f_bavail * disk.f_frsize, total=disk.f_blocks * disk.f_frsize
    )
