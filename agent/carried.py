"""Work beside other work: carried to its end whoever is cancelled meanwhile, or ended with it."""

from __future__ import annotations

import asyncio
import contextvars
import functools
from collections.abc import Callable, Coroutine, Sequence
from typing import ParamSpec, TypeVar

Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")


async def to_its_end(work: asyncio.Future[Result]) -> Result:
    """The work's result; a cancellation that comes meanwhile is raised once the work is done."""
    cancellation: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.wait({work})
        except asyncio.CancelledError as error:
            cancellation = error
    if cancellation is not None:
        if not work.cancelled():
            work.exception()  # which nobody else will ask for
        raise cancellation
    return work.result()


async def in_thread(
    function: Callable[Arguments, Result],
    /,
    *arguments: Arguments.args,
    **named: Arguments.kwargs,
) -> Result:
    """As asyncio.to_thread, where a cancellation lets the function run on unseen, or never run."""
    # No task around the thread's own future: that would be three turns of the loop for nothing.
    call = functools.partial(contextvars.copy_context().run, function, *arguments, **named)
    return await to_its_end(asyncio.get_running_loop().run_in_executor(None, call))


async def in_parallel(work: Sequence[Coroutine[None, None, None]]) -> None:
    """Run all; the first failure ends the others and is raised as itself, not in a group."""
    try:
        async with asyncio.TaskGroup() as group:
            for one in work:
                group.create_task(one)
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
