"""File systems that are full after a few megabytes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

MIB = 1024 * 1024
FILLER = "filler"


@contextmanager
def small_disk(folder: Path, mib: int = 8) -> Iterator[Path]:
    """Of so many MiB, in the place of the folder, which is made unless it is there and empty. Skips
    the test where nothing can be mounted."""
    if os.geteuid() != 0:
        pytest.skip("only root can make a small disk")
    folder.mkdir(parents=True, exist_ok=True)
    was = folder.stat()
    mode = f"{was.st_mode & 0o7777:o}"
    options = f"size={mib}m,mode={mode},uid={was.st_uid},gid={was.st_gid}"
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    assert not list(folder.iterdir()), f"what is in {folder} would be hidden"
    if subprocess.run(mount, check=False).returncode != 0:
        pytest.skip("mounting is not allowed here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def filled(folder: Path, *, but: int = 0) -> Iterator[None]:
    """No byte fits any more into what the folder is on, but so many; until the block ends."""
    filler = folder / FILLER
    try:
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(1 << 14))
        if but:
            os.truncate(filler, max(0, filler.stat().st_size - but))
        yield
    finally:
        filler.unlink(missing_ok=True)


def room_in(folder: Path) -> int:
    """Bytes that are free."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize
