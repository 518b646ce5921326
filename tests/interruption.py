"""Cancelling a coroutine at each of the moments at which it waits."""

from __future__ import annotations

import asyncio
import time
import types
from collections.abc import Coroutine, Generator
from itertools import count
from typing import Any

THREAD_SECONDS = 0.003
"""A thread that was started just before is given time to do its work: its result is then there, and
nobody takes it."""


async def cancelled_at(moment: int, work: Coroutine[Any, Any, object]) -> bool:
    """Run `work`, cancelled where it waits for the time `moment` (from 0); whether it got there."""
    task = asyncio.create_task(_run(moment, work))
    try:
        await task
    except asyncio.CancelledError:
        return True
    return False


@types.coroutine
def _run(moment: int, work: Coroutine[Any, Any, object]) -> Generator[Any, Any, object]:
    thrown: BaseException | None = None
    for waits in count():
        try:
            awaited = work.send(None) if thrown is None else work.throw(thrown)
        except StopIteration as end:
            return end.value
        if waits == moment:
            time.sleep(THREAD_SECONDS)
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
        thrown = None
        try:
            yield awaited
        except BaseException as error:
            thrown = error
    return None
