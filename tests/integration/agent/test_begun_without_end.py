"""Begun steps of which the agent has nothing (any more) to say."""

from __future__ import annotations

import asyncio

import pytest

from agent.step_run import StepRun
from tests.integration.agent_bench import ended, open_bench


async def test_a_step_that_was_dropped_is_not_polled_for_without_a_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each answer brings it again, at once, since the coordinator doesn't know."""
    run, faults = StepRun.run, [RuntimeError("a fault of ours")]

    async def fail_once(work: StepRun) -> None:
        if faults:
            raise faults.pop()
        await run(work)

    monkeypatch.setattr(StepRun, "run", fail_once)
    async with open_bench() as bench:
        dropped = bench.coordinator.add_begun("echo never")
        async with bench.agent():
            while not dropped.told:
                await asyncio.sleep(0.01)
            before = len(bench.coordinator.polls)
            await asyncio.sleep(2)
            assert len(bench.coordinator.polls) - before <= 2 / 0.2 + 1
            # And others are begun beside it.
            other = bench.coordinator.add_begun("echo other")
            await ended(other)
            assert other.text == "other\n"
