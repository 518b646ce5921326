"""The processes that wait on the host for the next script, and what becomes of them."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from tests.integration.agent.test_host_engine import Bench, bench, gone

__all__ = ["bench"]

PATIENCE_SECONDS = 60.0


def children(pid: int) -> set[int]:
    found = (path.read_text().split() for path in Path(f"/proc/{pid}/task").glob("*/children"))
    return {int(number) for numbers in found for number in numbers}


async def spare_of(nursery: int) -> int:
    """The supervisor that waits, once it alone is left."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(children(nursery)) != 1:
            await asyncio.sleep(0.01)
    return children(nursery).pop()


@pytest.fixture
def earlier() -> set[int]:
    """The children that this process has without the test's."""
    return children(os.getpid())


async def begun(bench: Bench, earlier: set[int]) -> tuple[int, int]:
    """A nursery that has had a script, and the supervisor that waits for the next one."""
    assert (await bench.run("true")).exit_code == 0
    [nursery] = children(os.getpid()) - earlier
    return nursery, await spare_of(nursery)


async def test_the_supervisor_of_a_script_waited_for_it(bench: Bench, earlier: set[int]) -> None:
    nursery, spare = await begun(bench, earlier)
    assert (await bench.run("echo $PPID")).exit_code == 0
    assert bench.output.text == f"{spare}\n"
    assert await spare_of(nursery) != spare


@pytest.mark.parametrize("victim", ["nursery", "spare", "both"])
async def test_what_is_killed_is_started_anew(bench: Bench, earlier: set[int], victim: str) -> None:
    nursery, spare = await begun(bench, earlier)
    victims = {"nursery": [nursery], "spare": [spare], "both": [nursery, spare]}[victim]
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    for pid in (nursery, *(victims if victim != "nursery" else ())):
        assert await gone(pid, within_seconds=PATIENCE_SECONDS)
    for _ in range(3):
        assert (await bench.run("echo ran")).exit_code == 0
        assert bench.output.text == "ran\n"


async def test_none_is_left_once_the_engine_is_closed(bench: Bench, earlier: set[int]) -> None:
    processes = await begun(bench, earlier)
    await bench.engine.close()
    for pid in processes:
        assert await gone(pid, within_seconds=PATIENCE_SECONDS)


async def test_a_script_goes_on_where_its_nursery_is_killed(
    bench: Bench, earlier: set[int]
) -> None:
    nursery, _ = await begun(bench, earlier)
    running = asyncio.create_task(bench.run("echo $$; while [ ! -e go ]; do sleep 0.05; done"))
    await asyncio.sleep(0)  # which gives it an output of its own
    async with asyncio.timeout(PATIENCE_SECONDS):
        await bench.output.came.wait()
    os.kill(nursery, signal.SIGKILL)
    assert await gone(nursery, within_seconds=PATIENCE_SECONDS)
    assert not running.done()
    (bench.root / "work" / "attempts" / bench.attempt_id / "workspace" / "go").touch()
    assert (await running).exit_code == 0
