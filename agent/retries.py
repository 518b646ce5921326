"""Calls that are made again until they succeed, with a growing pause between."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from agent.coordinator_errors import CoordinatorUnavailableError
from agent.lease import LONGEST_RETRY_SECONDS, retry_delay_seconds

Result = TypeVar("Result")
Pause = Callable[[float], Awaitable[object]]


async def keep_trying(
    work: Callable[[], Awaitable[Result]],
    failed: Callable[[Exception], None],
    *,
    on: type[Exception] | tuple[type[Exception], ...] = CoordinatorUnavailableError,
    longest_seconds: float = LONGEST_RETRY_SECONDS,
    pause: Pause = asyncio.sleep,
    chance: Callable[[], float] = random.random,
) -> Result:
    """The result of `work`, which is called again for as long as it raises one of `on`.

    `failed` is told each such failure, before the pause: it writes a log line, or raises what ends
    the trying. A pause is `longest_seconds` at most. `chance` gives its jitter, in [0, 1).
    """
    failures = 0
    while True:
        try:
            return await work()
        except on as error:
            failed(error)
        failures += 1
        await pause(retry_delay_seconds(failures, chance(), longest_seconds))


async def pause_after(failures: int) -> None:
    """The pause after so many failures in a row."""
    await asyncio.sleep(retry_delay_seconds(failures, random.random()))  # noqa: S311


async def pause_until(event: asyncio.Event, seconds: float) -> None:
    """Return when it comes, or the time is over."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
