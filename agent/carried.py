"""Work that is carried to its end, whoever is cancelled while he waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
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
    return await to_its_end(asyncio.ensure_future(asyncio.to_thread(function, *arguments, **named)))
