"""One git process with its children, as a group that is ended as a whole."""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import structlog

log = structlog.get_logger(__name__)

LAST_WORDS_BYTES = 2048
_TERMINATE_SECONDS = 3.0
_POLL_SECONDS = 0.02
_PIPE_BUFFER_BYTES = 128 * 1024
_READ_BYTES = 64 * 1024


class GitProcess:
    """A running git: its input and outputs, and its end."""

    def __init__(self, process: Process, *, patience_seconds: float) -> None:
        self._process = process
        self._patience_seconds = patience_seconds

    async def write(self, data: bytes) -> bool:
        """Whether git still takes input."""
        if self._process.stdin is None or self._process.stdin.is_closing():
            return False
        try:
            self._process.stdin.write(data)
            await self._process.stdin.drain()
        except ConnectionError:
            return False
        return True

    def end_input(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()

    async def read(self) -> bytes:
        """The next bytes of git's output; empty at its end."""
        return await self._process.stdout.read(_READ_BYTES) if self._process.stdout else b""

    async def read_errors(self) -> bytes:
        return await self._process.stderr.read(_READ_BYTES) if self._process.stderr else b""

    async def exit_code(self) -> int:
        """Once the outputs are at their end; negative where a signal ended it."""
        return await self._process.wait()

    async def end(self) -> None:
        """End the whole group: by the end of its input, by SIGTERM, by SIGKILL.

        A receive-pack whose input ends removes the objects it has quarantined; since git 2.39 it
        no longer does so on a signal, which leaves only its lock files removed. May be called
        more than once.
        """
        self.end_input()
        if await self._ended_after(0, self._patience_seconds):
            return
        if not await self._ended_after(signal.SIGTERM, _TERMINATE_SECONDS):
            await self._ended_after(signal.SIGKILL, _TERMINATE_SECONDS)

    async def finish(self) -> None:
        """End the group and give back its pipes."""
        await self.end()
        # asyncio's wait() returns only once each pipe was read to its end.
        await asyncio.gather(_discard(self._process.stdout), _discard(self._process.stderr))
        await self._process.wait()

    async def _ended_after(self, number: int, seconds: float) -> bool:
        """Signal the group and wait; False if a member lives on."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        alive = _signal_group(self._process.pid, number)
        # Nothing tells us of the end of the children, which outlive their parent.
        while (alive or self._process.returncode is None) and loop.time() < deadline:
            await asyncio.sleep(_POLL_SECONDS)
            alive = _signal_group(self._process.pid, 0)
        return not alive


@asynccontextmanager
async def git_process(
    command: Sequence[str], environment: Mapping[str, str], *, patience_seconds: float
) -> AsyncIterator[GitProcess]:
    """Run `command` with pipes; on the way out nothing of its process group is left.

    `patience_seconds` is how long it may go on after the end of its input before it is killed.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        env=environment,
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        limit=_PIPE_BUFFER_BYTES,
        cwd="/",
        start_new_session=True,
    )
    running = GitProcess(process, patience_seconds=patience_seconds)
    try:
        yield running
    finally:
        await asyncio.shield(running.finish())


async def _discard(pipe: asyncio.StreamReader | None) -> None:
    while pipe is not None and await pipe.read(_PIPE_BUFFER_BYTES):
        pass


def _signal_group(group: int, number: int) -> bool:
    """Whether there still was a process of that group."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


async def note_last_words(process: GitProcess, repository: str) -> None:
    """Log what git complained of; most of it the client has seen as well."""
    words = b""
    while chunk := await process.read_errors():
        words = (words + chunk)[-LAST_WORDS_BYTES:]
    if words:
        log.warning("git_complained", repository=repository, words=words.decode(errors="replace"))
