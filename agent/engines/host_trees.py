"""Whole folder trees of the host engine: copied, given to a user, removed."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from agent.descriptors import are_lacking
from agent.removal import remove_folder

SMALL_TREE_ENTRIES = 500
"""So many files are handled here; for more, a process is started."""
WITHOUT_DESCRIPTORS_SECONDS = 60.0
AGAIN_SECONDS = 0.1
TOOL_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


async def copy_tree(sources: Sequence[Path], target: Path) -> None:
    """Lay folders over the target, one after the other: modes, times and links kept, links in the
    target replaced.

    A link is never written through: the source may hold one named like an input, to anywhere.
    """
    process = await asyncio.create_subprocess_exec(
        "cp",
        "-a",
        "--no-preserve=ownership",
        "--remove-destination",
        "--",
        *(f"{source}/." for source in sources),
        str(target),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={"PATH": os.environ.get("PATH", TOOL_PATH), "LC_ALL": "C"},
    )
    try:
        _, errors = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    if process.returncode != 0:
        raise OSError(f"copying to the workspace: {errors.decode('utf-8', 'replace').strip()}")


def copy_as(uid: int | None, source: Path, target: Path) -> None:
    """Copy what is in a folder that scripts write to, as the user that they run as: whatever they
    put there meanwhile leads to nothing that they can't read. What can't be read, or is gone by
    then, is left out. Blocking."""
    subprocess.run(
        ["cp", "-a", "--", f"{source}/.", str(target)],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        check=False,
        env={"PATH": TOOL_PATH, "LC_ALL": "C"},
        user=uid,
        group=uid,
        extra_groups=None if uid is None else (),
    )


def owner_of(path: Path) -> int | None:
    """None if it has gone."""
    try:
        return path.lstat().st_uid
    except FileNotFoundError:
        return None


def copy_repository(parts: Sequence[Path], workspace: Path) -> None:
    """Lay the `.git` that is in these folders, which has no links, into a workspace that nobody
    else can enter yet; times are kept. Blocking. Raises OSError.

    It has so few files that a process of its own would take longer.
    """
    for part in parts:
        shutil.copytree(part / ".git", workspace / ".git", dirs_exist_ok=True)


def own_small_tree(root: Path, uid: int) -> bool:
    """Give a folder that nobody else can enter yet to the user; False if it holds too much.

    A process of its own would take longer than this for a few files.
    """
    files: list[str] = []
    folders = [str(root)]
    for folder in folders:
        with os.scandir(folder) as entries:
            for entry in entries:
                (folders if entry.is_dir(follow_symlinks=False) else files).append(entry.path)
        if len(files) + len(folders) > SMALL_TREE_ENTRIES:
            return False
    # The root last: until then only we can get in.
    for path in (*files, *reversed(folders)):
        os.lchown(path, uid, uid)
    return True


def own_tree(root: Path, uid: int) -> None:
    # chown and rm rather than os.walk and shutil: those recurse, and a tree can be any depth.
    _run_tool("chown", "-hR", f"{uid}:{uid}", "--", str(root))


def remove_tree(root: Path) -> None:
    """Remove a folder, also where scripts took the rights away; links are never followed."""
    try:
        remove_folder(root)
    except OSError:
        # Root needs no rights to remove, and must not change those of what a script puts there now.
        if os.geteuid() != 0:
            _run_tool("chmod", "-R", "u+rwx", "--", str(root))
        _run_tool("rm", "-rf", "--", str(root))


def remove_trees(roots: Sequence[Path]) -> None:
    """Remove folders, once there are descriptors for it: other steps' ends give some back."""
    for root in roots:
        give_up_at = time.monotonic() + WITHOUT_DESCRIPTORS_SECONDS
        while not _removed(root, last=time.monotonic() >= give_up_at):
            time.sleep(AGAIN_SECONDS)


def _removed(root: Path, *, last: bool) -> bool:
    try:
        remove_tree(root)
    except OSError as error:
        if last or not are_lacking(error):
            raise
        return False
    return True


def _run_tool(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        raise OSError(f"{argv[0]}: {done.stderr.decode('utf-8', 'replace').strip()[:500]}")
