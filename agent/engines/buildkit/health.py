"""Whether a program that its image starts is well: asked from within its own network."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from agent.engines.buildkit import machine, readiness
from agent.engines.buildkit.failures import StepNotRunError
from agent.engines.buildkit.orphans import program_of
from pipelines_schema.contract import HealthCheck

SEARCH_SECONDS = 60.0
"""How long the program's first process is looked for on this machine."""
POLL_SECONDS = 0.1
EVERY_SECONDS = 10.0
ILL_AFTER = 3
"""So many checks in a row that fail end a program that was well."""
_NOT_HERE = (
    "the program's health can't be checked: its processes are not seen on this machine: that needs "
    "an agent that runs as root on the machine of its engine"
)
_ANSWER_WORDS = 200


class UnhealthyError(Exception):
    """The program did not become well, or is no longer; the message says how it was asked."""


async def watch(
    check: HealthCheck,
    attempt_id: str,
    tell: Callable[[], Awaitable[None]],
    *,
    every_seconds: float = EVERY_SECONDS,
) -> None:
    """Wait until it is well, tell so, and return never as long as it stays so.

    Raises UnhealthyError, StepNotRunError.
    """
    process = await _first_process(attempt_id)
    said = [""]
    try:
        async with asyncio.timeout(check.start_seconds):
            while True:
                if await _is_well(check, process, said):
                    break
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        message = f"{_asked(check)} within {check.start_seconds:g} seconds{_last(said)}"
        raise UnhealthyError(f"{message}: see its log, or give it more `start_seconds`") from None
    await tell()
    failed = 0
    while failed < ILL_AFTER:
        await asyncio.sleep(every_seconds)
        failed = 0 if await _is_well(check, process, said) else failed + 1
    raise UnhealthyError(f"{_asked(check)} {ILL_AFTER} times in a row{_last(said)}")


async def _first_process(attempt_id: str) -> int:
    try:
        async with asyncio.timeout(SEARCH_SECONDS):
            while True:
                found = await asyncio.to_thread(program_of, attempt_id)
                if found is not None:
                    return found
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        raise StepNotRunError(_NOT_HERE) from None


async def _is_well(check: HealthCheck, process: int, said: list[str]) -> bool:
    # A program that listens on its own loopback alone is reached by nobody else: that is not well.
    address = machine.address(process)
    if address is None:
        said[:] = ["it has no address yet"]
        return False
    if check.path is None:
        said[:] = ["no connection"]
        return await readiness.connects(process, address, check.port)
    url = f"http://{address}:{check.port}{check.path}"
    return await readiness.is_well(process, address, url, said)


def _asked(check: HealthCheck) -> str:
    if check.path is None:
        return f"health check: port {check.port} took no connection"
    return (
        f"health check: GET {check.path} on port {check.port} was not answered with a status from "
        "200 to 399"
    )


def _last(said: list[str]) -> str:
    return f" (it said: {said[0][:_ANSWER_WORDS]})" if said[0] else ""
