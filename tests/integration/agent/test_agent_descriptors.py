"""An agent that has hardly any descriptors: its steps wait, or are tried again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from agent.descriptors import slots_allowed
from pipelines_schema.contract import Completion, CompletionReason
from tests.integration.agent_bench import Bench, ended, open_bench
from tests.integration.fake_coordinator import Step

FEW = ["bash", "-c", 'ulimit -n "$0" && exec "$@"']


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with open_bench() as bench:
        yield bench


def add_step(bench: Bench, number: int) -> Step:
    return bench.coordinator.add_step(
        f"seq 1000; sleep 0.1; mkdir o; for n in 1 2 3; do echo {number} > o/$n; done",
        outputPaths=["o"],
    )


async def last_completion(bench: Bench, step: Step) -> CompletionReason | Completion | None:
    """How it ended, once it was not lost; a lost one is handed out again, as it should be."""
    while True:
        await ended(step)
        assert step.completion is not None
        if step.completion.reason is not CompletionReason.LOST:
            return step.completion.reason or step.completion.status
        step.completion = None
        step.ended.clear()
        bench.coordinator.hand_out_again(step)


@pytest.mark.parametrize("limit", ["64", "44"])
async def test_twenty_steps_end_well_with_few_descriptors(bench: Bench, limit: str) -> None:
    steps = [add_step(bench, number) for number in range(20)]
    await bench.start_process(slots=20, within=[*FEW, limit])
    ends = await asyncio.gather(*[last_completion(bench, step) for step in steps])
    assert ends == [Completion.SUCCESS] * 20
    text = "".join(f"{number}\n" for number in range(1, 1001))
    assert all(step.text == text for step in steps)
    async with asyncio.timeout(60):
        while bench.journal or any((bench.work / "attempts").iterdir()):
            await asyncio.sleep(0.02)


def test_descriptors_allow_a_step_at_least_and_the_usual_limits_many() -> None:
    assert [slots_allowed(limit) for limit in (16, 64, 1024, 65_536)] == [1, 2, 62, 4094]
