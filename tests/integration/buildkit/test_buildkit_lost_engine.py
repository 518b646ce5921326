"""The daemon dies, hangs and comes back under running steps: on an engine of these tests' own."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import pytest

from agent.engines.protocol import Outcome

if TYPE_CHECKING:
    from .conftest import Bench, Marker, OwnEngine

pytestmark = pytest.mark.engine


async def test_a_daemon_killed_under_a_step_is_the_engines_failure_and_found_again_later(
    own_bench: Bench, own_engine: OwnEngine, marker: Marker
) -> None:
    log = own_bench.log()
    running = asyncio.create_task(own_bench.run(f"echo up; sleep {marker.word}", log=log))
    await log.wait_for(b"up\n")

    own_engine.signal(signal.SIGKILL)
    async with asyncio.timeout(60):
        ran = await running

    assert ran.result.outcome is Outcome.ENGINE_LOST
    assert "went away" in (ran.result.message or "")
    away = await own_bench.run("true")
    assert away.result.outcome is Outcome.ENGINE_LOST
    await own_engine.start()
    again = await own_bench.run("echo again")
    assert (again.result.exit_code, again.log.stdout) == (0, b"again\n")


async def test_a_daemon_that_hangs_is_given_up(own_bench: Bench, own_engine: OwnEngine) -> None:
    log = own_bench.log()
    running = asyncio.create_task(own_bench.run("echo up; sleep 100", log=log))
    await log.wait_for(b"up\n")

    own_engine.signal(signal.SIGSTOP)
    try:
        async with asyncio.timeout(60):
            ran = await running
    finally:
        own_engine.signal(signal.SIGCONT)

    assert ran.result.outcome is Outcome.ENGINE_LOST
    assert "went away" in (ran.result.message or "")
    assert (await own_bench.run("echo again")).log.stdout == b"again\n"
