"""git, called in somebody's repository without changing anything of it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from pushrod.local.errors import CannotRun

MOST_SHOWN = 500
"""Characters of what git says."""
UNCHANGING = (
    *("-c", "core.hooksPath=/dev/null"),  # writing an index calls one
    *("-c", "core.fsmonitor=false"),
    *("-c", "core.splitIndex=false"),  # its shared part would be written beside the user's
    *("-c", "core.untrackedCache=false"),
    *("-c", "core.safecrlf=false"),
    *("-c", "advice.addEmbeddedRepo=false"),
    *("-c", "gc.auto=0"),
)
RAW_LFS = (
    *("-c", "filter.lfs.clean="),
    *("-c", "filter.lfs.process="),
    *("-c", "filter.lfs.required=false"),
)
"""LFS files go as they lie there: the objects that pointers name are nowhere but in this clone."""


def git_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Without what a hook is given, which names the repository that called it; the user's own
    configuration counts."""
    kept = {
        name: text
        for name, text in environment.items()
        if not name.startswith("GIT_") or name.startswith("GIT_CONFIG")
    }
    return {**kept, "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}


class GitFailed(CannotRun):
    """git ended with another status than 0."""


async def git(
    folder: Path,
    *arguments: str,
    given: bytes = b"",
    extra: Mapping[str, str] | None = None,
) -> bytes:
    """What git prints. `extra` are variables. Raises GitFailed, CannotRun where there is no git."""
    command = ["git", *UNCHANGING, *RAW_LFS, *arguments]
    environment = {**git_environment(os.environ), **(extra or {})}
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise CannotRun("git is missing: apt-get install git") from error
    try:
        output, said = await process.communicate(given)
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):  # its filters are processes of their own
                os.killpg(process.pid, signal.SIGKILL)
            await asyncio.shield(process.wait())
    if process.returncode != 0:
        raise GitFailed(_failure(arguments, said))
    return output


async def git_text(
    folder: Path, *arguments: str, extra: Mapping[str, str] | None = None
) -> str | None:
    """A line of output; None where git fails."""
    try:
        output = await git(folder, *arguments, extra=extra)
    except GitFailed:
        return None
    return os.fsdecode(output).rstrip("\n")


def _failure(arguments: Sequence[str], said: bytes) -> str:
    text = " ".join(os.fsdecode(said).split())
    return f"git {arguments[0]} failed: {text[:MOST_SHOWN]}"
