"""Loose objects of a repository, which libgit2 makes, as a pack."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

from coordinator.git.environment import git_environment
from coordinator.git.pack_files import loose_objects
from coordinator.git.process import git_process, note_last_words


class NotPacked(Exception):
    """git refused; its words are in the log."""


async def pack_loose_objects(repository: Path) -> None:
    """All of them, whatever reaches them. Raises NotPacked."""
    loose = await asyncio.to_thread(loose_objects, repository)
    if not loose:
        return
    target = str(repository / "objects" / "pack" / "pack")
    command = ["git", "--git-dir", str(repository), "pack-objects", "--quiet", target]
    async with git_process(command, git_environment({}), patience_seconds=0) as process:

        async def feed() -> None:
            for name in loose:
                await process.write(f"{name}\n".encode())
            process.end_input()

        async def drain() -> None:
            while await process.read():
                pass

        await asyncio.gather(feed(), drain(), note_last_words(process, repository.name))
        if code := await process.exit_code():
            raise NotPacked(f"git pack-objects ended with {code}")
    await asyncio.to_thread(_remove, loose.values())


def _remove(files: Iterable[Path]) -> None:
    for file in files:
        file.unlink(missing_ok=True)
