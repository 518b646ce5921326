"""File locks between processes; the kernel lets go of them when their holder dies."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from agent.engines.private.errors import EngineBusyError

POLL_SECONDS = 0.05


@asynccontextmanager
async def locked(
    path: Path, *, timeout_seconds: float, say: Callable[[str], None]
) -> AsyncIterator[None]:
    """Hold the lock on `path` (created with its folder) for the block.

    Raises: EngineBusyError when another process kept it for `timeout_seconds`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        await _acquire(descriptor, path, timeout_seconds, say)
        yield
    finally:
        os.close(descriptor)


async def _acquire(
    descriptor: int, path: Path, timeout_seconds: float, say: Callable[[str], None]
) -> None:
    if _try_lock(descriptor):
        return
    say(f"waiting for another pushrod that holds {path}")
    try:
        async with asyncio.timeout(timeout_seconds):
            while not _try_lock(descriptor):  # noqa: ASYNC110 another process holds it
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError as error:
        raise EngineBusyError(
            f"Another process has held {path} for {timeout_seconds:.0f} s.",
            remedy=f"See who it is with `fuser {path}`, let it end, then repeat.",
        ) from error


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
