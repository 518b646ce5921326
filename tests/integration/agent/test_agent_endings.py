"""An attempt that is to end: its script is asked, and has its grace, unless nobody waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.worker import Agent
from pipelines_schema.contract import CompletionReason
from tests.integration.agent_bench import PATIENCE_SECONDS, Bench, ended, open_bench
from tests.integration.asked_to_end import WAITING
from tests.integration.fake_coordinator import Step

CLEANS_UP = f"trap 'echo cleaning; sleep 0.3; echo clean; exit 3' TERM; {WAITING}"
NEVER_ENDS = f"trap 'echo no' TERM; {WAITING}"


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with open_bench() as bench:
        yield bench


async def begun(bench: Bench, agent: Agent, script: str, **spec: object) -> Step:
    """A step whose script is up."""
    step = bench.coordinator.add_step(script, **spec)
    await asyncio.wait_for(step.logged.wait(), PATIENCE_SECONDS)
    return step


async def says(step: Step, text: str) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while text not in step.text:
            await asyncio.sleep(0.02)


def reason(step: Step) -> CompletionReason | None:
    assert step.completion is not None
    return step.completion.reason


async def test_the_log_of_a_cancelled_step_has_all_that_its_trap_wrote(bench: Bench) -> None:
    async with bench.agent() as agent:
        step = await begun(bench, agent, CLEANS_UP, grace_seconds=60)
        bench.coordinator.cancel(step)
        await ended(step)
    assert reason(step) is CompletionReason.CANCELLED
    assert step.text == "up\ncleaning\nclean\n"


async def test_a_cancelled_script_that_does_not_listen_is_killed(bench: Bench) -> None:
    async with bench.agent() as agent:
        step = await begun(bench, agent, NEVER_ENDS, grace_seconds=1)
        bench.coordinator.cancel(step)
        await ended(step)
    assert reason(step) is CompletionReason.CANCELLED
    assert step.text == "up\nno\n"


async def test_a_late_script_is_asked_to_end(bench: Bench) -> None:
    async with bench.agent():
        step = bench.coordinator.add_step(CLEANS_UP, grace_seconds=60, timeoutSeconds=1)
        await ended(step)
    assert reason(step) is CompletionReason.TIMEOUT
    assert step.text == "up\ncleaning\nclean\n"


async def test_the_second_signal_asks_the_scripts_to_end(bench: Bench) -> None:
    agent = bench.new_agent()
    running = asyncio.create_task(agent.run())
    step = await begun(bench, agent, CLEANS_UP, grace_seconds=60)
    agent.cancel_all()
    await asyncio.wait_for(running, PATIENCE_SECONDS)
    assert reason(step) is CompletionReason.LOST
    assert step.text == "up\ncleaning\nclean\n"


async def test_the_third_signal_kills_them(bench: Bench) -> None:
    agent = bench.new_agent()
    running = asyncio.create_task(agent.run())
    step = await begun(bench, agent, NEVER_ENDS, grace_seconds=300)
    agent.cancel_all()
    await says(step, "no")
    agent.cancel_all()
    await asyncio.wait_for(running, PATIENCE_SECONDS)
    assert reason(step) is CompletionReason.LOST


@pytest.fixture
def traces(bench: Bench) -> Path:
    """A folder that scripts can write to."""
    folder = bench.root / "traces"
    folder.mkdir()
    folder.chmod(0o777)
    return folder


async def test_a_lost_lease_gives_no_grace(bench: Bench, traces: Path) -> None:
    async with bench.agent() as agent:
        script = f"trap 'touch {traces}/asked' TERM; {WAITING}"
        step = await begun(bench, agent, script, grace_seconds=300)
        bench.coordinator.take_away(step)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while bench.journal:
                await asyncio.sleep(0.02)
    assert step.completions == 0
    assert list(traces.iterdir()) == []


async def test_a_lost_lease_ends_the_grace(bench: Bench) -> None:
    async with bench.agent() as agent:
        step = await begun(bench, agent, NEVER_ENDS, grace_seconds=300)
        bench.coordinator.cancel(step)
        await says(step, "no")
        bench.coordinator.take_away(step)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while bench.journal:
                await asyncio.sleep(0.02)
    assert step.completions == 0
