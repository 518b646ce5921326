"""Removing whole folders, whatever is in them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

SMALL_TREE_ENTRIES = 200
SMALL_TREE_DEPTH = 8


def remove_folder(folder: Path) -> None:
    """Remove a folder of any depth; links are never followed. Raises OSError.

    A few files are removed here, more by rm: shutil.rmtree recurses, and would keep the event loop
    from its work.
    """
    if not os.path.lexists(folder) or _removed_small(folder):
        return
    if os.geteuid() != 0:
        # What was collected has its own permission bits, by which it may not even be entered.
        subprocess.run(["chmod", "-R", "u+rwx", "--", folder], capture_output=True, check=False)
    done = subprocess.run(["rm", "-rf", "--", folder], capture_output=True, check=False)
    if done.returncode != 0:
        raise OSError(f"{folder}: {done.stderr.decode('utf-8', 'replace').strip()[:500]}")


def _removed_small(folder: Path) -> bool:
    """False if something is left: too much, too deep, not ours to remove."""
    try:
        parent = os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return False
    try:
        _remove_below(parent, folder.name, depth=SMALL_TREE_DEPTH, room=SMALL_TREE_ENTRIES)
    except OSError:
        return False
    finally:
        os.close(parent)
    return True


def _remove_below(parent: int, name: str, *, depth: int, room: int) -> int:
    """Remove a folder; how many entries more may be removed. Raises OSError.

    By descriptors, as rm does it: another process that puts a link in a folder's place must not
    lead us elsewhere.
    """
    folder = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    try:
        with os.scandir(folder) as found:
            entries = list(found)
        room -= len(entries)
        if room < 0 or depth == 0:
            raise OSError("too much for here")
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                room = _remove_below(folder, entry.name, depth=depth - 1, room=room)
            else:
                os.unlink(entry.name, dir_fd=folder)
    finally:
        os.close(folder)
    os.rmdir(name, dir_fd=parent)
    return room
