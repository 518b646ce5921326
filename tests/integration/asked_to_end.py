"""Scripts that are asked to end, and what has to come of it: the same on every engine."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass

from agent.engines.end_request import EndRequest
from agent.engines.protocol import Outcome, StepResult

WAITING = "exec 9<> <(:); echo up; while :; do read -rt 0.05 -u 9 || :; done"
"""A script, once it has set its traps. It runs no program, of whose death bash would write."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    name: str
    script: str
    said: str
    """Its log, after `up`."""
    exit_code: int
    grace_seconds: float = 60.0


ASKED = (
    Asked(
        name="a trap has its time, and its code counts",
        script=f"trap 'echo begun; sleep 0.5; echo over; exit 9' TERM; {WAITING}",
        said="begun\nover\n",
        exit_code=9,
    ),
    Asked(
        name="one with the longest grace ends when its trap does",
        script=f"trap 'echo over; exit 3' TERM; {WAITING}",
        said="over\n",
        exit_code=3,
        grace_seconds=300.0,
    ),
    Asked(
        name="one without a trap ends at once",
        script="echo up; sleep 1000",
        said="",
        exit_code=143,
    ),
    Asked(
        name="what a script without a trap runs has its time",
        script=f"bash -c 'trap \"echo begun; sleep 0.5; echo over; exit 5\" TERM; {WAITING}'; true",
        said="begun\nover\n",
        exit_code=143,
    ),
    Asked(
        name="one that ends well was asked all the same",
        script=f"trap 'echo over; exit 0' TERM; {WAITING}",
        said="over\n",
        exit_code=0,
    ),
    Asked(
        name="one that does not listen is killed when its grace is over",
        script=f"trap 'echo no' TERM; {WAITING}",
        said="no\n",
        exit_code=137,
        grace_seconds=1.0,
    ),
    Asked(
        name="what left its group is not asked, and does not survive",
        script="setsid bash -c \"trap 'echo asked' TERM; sleep 1000\" & echo up; wait",
        said="",
        exit_code=143,
    ),
    Asked(
        name="much output of a trap is whole",
        script=f"trap 'seq 1 200000; exit 1' TERM; {WAITING}",
        said="".join(f"{number}\n" for number in range(1, 200_001)),
        exit_code=1,
    ),
)


async def end_when_up(
    end: EndRequest, up: Awaitable[object], running: Awaitable[StepResult], asked: Asked
) -> None:
    """Ask the script once it is up, twice; look at how it ended."""
    step = asyncio.ensure_future(running)
    await asyncio.wait_for(up, 60)
    async with asyncio.timeout(60):
        while not end.make():  # what it wrote may be here before the engine knows that it runs
            await asyncio.sleep(0.01)
    assert end.make()
    result = await asyncio.wait_for(step, 60)
    assert (result.outcome, result.exit_code) == (Outcome.EXITED, asked.exit_code)
    assert not end.make()
