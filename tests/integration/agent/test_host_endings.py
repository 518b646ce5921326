"""Scripts on the host that are asked to end: by a cancel, at their timeout."""

from __future__ import annotations

import asyncio

import pytest

from agent.engines.end_request import TOO_LATE, EndRequest
from agent.engines.protocol import Outcome
from tests.integration.asked_to_end import ASKED, WAITING, Asked, end_when_up

from .test_host_engine import Bench, bench, is_alive

__all__ = ["bench"]


@pytest.mark.parametrize("asked", ASKED, ids=lambda asked: asked.name)
async def test_a_script_is_asked_to_end(bench: Bench, asked: Asked) -> None:
    end = EndRequest()
    running = bench.run(
        asked.script, grace_seconds=asked.grace_seconds, end=end, output_paths=["out"]
    )
    await end_when_up(end, came(bench), running, asked)
    assert bench.output.text == f"up\n{asked.said}"
    assert bench.leftovers() == []


async def came(bench: Bench) -> None:
    while not hasattr(bench, "output") or not bench.output.pieces:
        await asyncio.sleep(0.01)


async def test_a_late_script_is_asked_to_end_and_its_outputs_are_kept(bench: Bench) -> None:
    result = await bench.run(
        f"trap 'echo late; echo x > out; exit 0' TERM; {WAITING}",
        timeout_seconds=1.0,
        grace_seconds=60.0,
        output_paths=["out"],
    )
    assert result.outcome is Outcome.TIMED_OUT
    assert result.message == TOO_LATE.format(seconds=1)
    assert bench.output.text == "up\nlate\n"
    assert (bench.outputs / "out").read_text() == "x\n"


async def test_a_script_that_was_cancelled_has_no_outputs(bench: Bench) -> None:
    end = EndRequest()
    script = f"echo x > out; trap 'exit 0' TERM; {WAITING}"
    asked = Asked(name="", script=script, said="", exit_code=0)
    running = bench.run(script, grace_seconds=60.0, end=end, output_paths=["out"])
    await end_when_up(end, came(bench), running, asked)
    assert list(bench.outputs.iterdir()) == []


async def test_a_kill_ends_the_grace(bench: Bench) -> None:
    end = EndRequest()
    running = asyncio.create_task(
        bench.run(f"trap 'echo $$' TERM; {WAITING}", grace_seconds=300.0, end=end)
    )
    await came(bench)
    assert end.make()
    async with asyncio.timeout(60):
        while "\n" not in bench.output.text.removeprefix("up\n"):
            await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not is_alive(int(bench.output.text.split()[1]))


async def test_without_a_grace_nobody_is_asked(bench: Bench) -> None:
    end = EndRequest()
    running = asyncio.create_task(bench.run(f"trap 'echo no' TERM; {WAITING}", end=end))
    await came(bench)
    assert not end.make()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert bench.output.text == "up\n"
