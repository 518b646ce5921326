"""What runs have left: removed at their end, by their janitor, or by a later run.

Nothing heavy is imported before there is something to remove.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path

PREFIX = "pushrod-run-"
LOCK = "lock"
"""Held by the run; names the folder that outlives it and its engine, a line each."""

MAKING_SECONDS = 60.0


def remove_all_left(parent: Path) -> None:
    """Of all runs of this user that are no more."""
    for folder in parent.glob(f"{PREFIX}*"):
        with suppress(OSError):
            if (
                folder.lstat().st_uid == os.geteuid()
                and folder.is_dir()
                and not folder.is_symlink()
            ):
                remove_if_left(folder)


def remove_if_left(folder: Path) -> bool:
    """Whether the run was no more, so that its attempts were ended and its folder removed."""
    try:
        lock = (folder / LOCK).open("r+")
    except FileNotFoundError:
        # One that is just being made or removed; or its run was killed before there was anything.
        if folder.lstat().st_mtime < time.time() - MAKING_SECONDS:
            folder.rmdir()
        return False
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        lasting, _, engine = lock.read().partition("\n")
        _end_attempts(folder, Path(lasting), engine.strip())
        remove_run(folder)
        return True


def remove_run(folder: Path) -> None:
    """Whatever permission bits scripts gave to what they left. Its lock goes last: without it
    nobody would look at the folder again."""
    from agent.removal import remove_folder

    with suppress(FileNotFoundError):
        for entry in folder.iterdir():
            if entry.name == LOCK:
                continue
            if entry.is_dir() and not entry.is_symlink():
                remove_folder(entry)
            else:
                entry.unlink()
        remove_folder(folder)


def _end_attempts(folder: Path, lasting: Path, engine: str) -> None:
    """As a restarted agent would: wait for what ends by itself, then remove what is left."""
    journal_folder = folder / "agent" / "attempts"
    if not journal_folder.is_dir() or not lasting.is_absolute():
        return
    from agent.engines.protocol import EngineUnavailable
    from agent.journal import Journal
    from agent.opening import open_engine

    async def end() -> None:
        journal = Journal(journal_folder)
        journal.open()
        entries = journal.entries()
        journal.close()
        if not entries:
            return
        opened = await open_engine(engine, lasting)
        await opened.check()
        try:
            for entry in entries:
                await opened.reap(entry.attempt_id)
        finally:
            await opened.close()

    with suppress(EngineUnavailable, OSError, ValueError):
        asyncio.run(end())
