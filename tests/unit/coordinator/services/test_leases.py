"""When a coordinator says of itself that it was away, by a clock of our own."""

from __future__ import annotations

import asyncio
from typing import cast

from structlog.testing import capture_logs

from coordinator.domain.steps.hand_outs import HandOut, HandOuts, HandOutState
from coordinator.services.core import Core
from coordinator.services.steps.leases import Leases

NOT_ASKED = cast(Core, None)
"""Nothing ends here."""


async def is_here(_connection: object, _holder: str) -> bool:
    return True


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


async def after(seconds: float, *, idle: bool) -> list[str]:
    """What it says when `seconds` have gone by in which it had nothing handed out, or something
    that it could not look after."""
    clock, held = Clock(), HandOuts(accept_seconds=5.0)
    leases = Leases(NOT_ASKED, held, clock, lambda: None, is_here)

    def begin(step: str) -> None:
        hand_out = HandOut(
            step_id=step,
            build_id="b",
            epoch=1,
            holder="agent:a",
            state=HandOutState.RUNNING,
            deadline=0.0,
            term_seconds=60.0,
            lease_seconds=20.0,
        )
        held.begin(hand_out, now=clock.now)
        leases.moved()

    with capture_logs() as said:
        running = asyncio.create_task(leases.run())
        if not idle:
            begin("before")
        await asyncio.sleep(0)  # both tasks begin
        await asyncio.sleep(0)
        clock.now += seconds
        begin("s")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    return [entry["event"] for entry in said]


async def test_one_that_has_nothing_handed_out_is_not_away() -> None:
    assert await after(30.0, idle=True) == []


async def test_one_that_looks_after_nothing_for_a_while_was_away() -> None:
    assert await after(30.0, idle=False) == ["this coordinator was away"]
