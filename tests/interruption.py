"""Cancelling a coroutine at each of the moments at which it waits."""

from __future__ import annotations

import asyncio
import time
import types
from collections.abc import Callable, Coroutine, Generator
from itertools import count
from typing import Any

THREAD_SECONDS = 0.003
"""A thread that was started just before is given time to do its work: its result is then there, and
nobody takes it."""


async def cancelled_at(moment: int, work: Coroutine[Any, Any, object]) -> bool:
    """Run `work`, cancelled where it waits for the time `moment` (from 0); whether it got there."""
    task = asyncio.create_task(_run(moment, work, _cancel))
    try:
        await task
    except asyncio.CancelledError:
        return True
    return False


async def interrupted_at(
    moment: int, work: Coroutine[Any, Any, object], interrupt: Callable[[], None]
) -> bool:
    """Run `work`, with a call of `interrupt` where it waits for the time `moment`; whether it got
    there."""
    interrupted = []

    def call() -> None:
        interrupted.append(moment)
        interrupt()

    await asyncio.create_task(_run(moment, work, call))
    return bool(interrupted)


def _cancel() -> None:
    time.sleep(THREAD_SECONDS)
    task = asyncio.current_task()
    assert task is not None
    task.cancel()


@types.coroutine
def _run(
    moment: int, work: Coroutine[Any, Any, object], interrupt: Callable[[], None]
) -> Generator[Any, Any, object]:
    thrown: BaseException | None = None
    for waits in count():
        try:
            awaited = work.send(None) if thrown is None else work.throw(thrown)
        except StopIteration as end:
            return end.value
        if waits == moment:
            interrupt()
        thrown = None
        try:
            yield awaited
        except BaseException as error:
            thrown = error
    return None
