"""kill -9 and signals: the agent as a process of its own, before a coordinator that lives on."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from pipelines_schema.contract import Completion, CompletionReason
from tests.integration.agent_bench import PATIENCE_SECONDS, Bench, ended, open_bench
from tests.quiet_time import quiet_seconds


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with open_bench() as bench:
        (bench.root / "shared").mkdir()
        (bench.root / "shared").chmod(0o777)
        yield bench


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await asyncio.sleep(0.01)


def waiting_script(bench: Bench, name: str) -> str:
    """A script that goes on once the test makes the file of that name."""
    return f"until [ -e {bench.root}/shared/{name} ]; do sleep 0.02; done"


async def test_killed_while_the_script_runs_the_step_is_lost_and_runs_again(bench: Bench) -> None:
    step = bench.coordinator.add_step(
        f"echo $$ >> {bench.root}/shared/pids; echo begun; {waiting_script(bench, 'go')}; echo end"
    )
    agent = await bench.start_process()
    await asyncio.wait_for(step.logged.wait(), PATIENCE_SECONDS)
    await bench.kill(agent)
    await bench.start_process()
    await ended(step)
    assert step.completion is not None
    assert step.completion.reason is CompletionReason.LOST
    assert step.text == "begun\n"
    first_pid = (bench.root / "shared" / "pids").read_text().split()[0]
    assert not Path("/proc", first_pid).exists()
    assert (step.step_id, 1) in {
        (lease.step_id, lease.epoch) for lease in bench.coordinator.renewals[-1].leases
    }
    (bench.root / "shared" / "go").touch()
    step.ended.clear()
    bench.coordinator.hand_out_again(step)
    await ended(step)
    assert step.completion.status is Completion.SUCCESS
    assert step.text == "begun\nend\n"


async def test_killed_after_the_script_ended_the_rest_is_delivered_and_nothing_runs_twice(
    bench: Bench,
) -> None:
    step = bench.coordinator.add_step(
        f"echo x >> {bench.root}/shared/runs; {waiting_script(bench, 'go')}; seq 400000; "
        "mkdir out; seq 10 > out/a; seq 20 > out/b; exit 5",
        outputPaths=["out"],
    )
    agent = await bench.start_process()
    await asyncio.wait_for(step.started.wait(), PATIENCE_SECONDS)
    await bench.coordinator.stop()
    (bench.root / "shared" / "go").touch()
    await until(lambda: bench.has_ended(step))
    await bench.kill(agent)
    await bench.coordinator.start()
    await bench.start_process()
    await ended(step)
    assert step.text == "".join(f"{number}\n" for number in range(1, 400_001))
    assert step.completion is not None
    assert step.completion.exit_code == 5
    assert sorted(step.artifacts) == ["out/a", "out/b"]
    assert (bench.root / "shared" / "runs").read_text() == "x\n"
    await until(lambda: bench.journal == [])


async def test_killed_amid_the_artifacts_only_the_missing_ones_are_sent_again(
    bench: Bench,
) -> None:
    step = bench.coordinator.add_step(
        "mkdir out; for n in $(seq 12); do echo $n > out/$n; done", outputPaths=["out"]
    )
    release = asyncio.Event()
    agent = await bench.start_process()
    await asyncio.wait_for(step.started.wait(), PATIENCE_SECONDS)
    await until(lambda: bool((found := bench.attempt(step)) and found.sent) or step.state == "done")
    bench.coordinator.hold_artifacts = release
    before = len(step.uploads)
    await bench.kill(agent)
    release.set()
    await bench.start_process()
    await ended(step)
    assert len(step.artifacts) == 12
    assert before >= 1
    # At most those in flight at the kill are sent twice.
    assert len(step.uploads) <= 12 + 4 + 4


def cut(spool: Path) -> None:
    os.truncate(spool, spool.stat().st_size - 50)


def change(spool: Path) -> None:
    text = spool.read_bytes()
    spool.write_bytes(text.replace(b"\n300\n", b"\n3X0\n"))


@pytest.mark.parametrize("sent", ["nothing sent", "all sent"])
@pytest.mark.parametrize("damage", [cut, change, Path.unlink])
async def test_a_damaged_log_of_an_ended_script_says_so_and_the_step_has_its_result(
    bench: Bench, damage: Callable[[Path], None], sent: str
) -> None:
    step = bench.coordinator.add_step(
        f"{waiting_script(bench, 'go')}; seq 20000; mkdir o; echo x > o/f", outputPaths=["o"]
    )
    agent = await bench.start_process()
    await asyncio.wait_for(step.started.wait(), PATIENCE_SECONDS)
    if sent == "nothing sent":
        await bench.coordinator.stop()
    else:
        bench.coordinator.hold_artifacts = asyncio.Event()
    (bench.root / "shared" / "go").touch()
    spool = bench.data / "attempts" / f"{step.step_id}-1.log"
    text = "".join(f"{number}\n" for number in range(1, 20_001))
    await until(lambda: bench.has_ended(step))
    if sent == "all sent":
        await until(lambda: step.text == text)
    await bench.kill(agent)
    damage(spool)
    if sent == "nothing sent":
        await bench.coordinator.start()
    bench.coordinator.hold_artifacts = None
    await bench.start_process()
    await ended(step)
    assert step.completion is not None
    assert step.completion.status is Completion.SUCCESS
    assert "may not be whole" in str(step.completion.message)
    assert "pushrod: The log may not be whole" in step.text or step.text == text
    assert sorted(step.artifacts) == ["o/f"]


@pytest.mark.parametrize("damage", [cut, change, Path.unlink])
async def test_a_short_log_of_an_ended_script_survives_the_loss_of_its_file(
    bench: Bench, damage: Callable[[Path], None]
) -> None:
    step = bench.coordinator.add_step(f"{waiting_script(bench, 'go')}; seq 500")
    agent = await bench.start_process()
    await asyncio.wait_for(step.started.wait(), PATIENCE_SECONDS)
    await bench.coordinator.stop()
    (bench.root / "shared" / "go").touch()
    await until(lambda: bench.has_ended(step))
    await bench.kill(agent)
    damage(bench.data / "attempts" / f"{step.step_id}-1.log")
    await bench.coordinator.start()
    await bench.start_process()
    await ended(step)
    assert step.completion is not None
    assert (step.completion.status, step.completion.message) == (Completion.SUCCESS, None)
    assert step.text == "".join(f"{number}\n" for number in range(1, 501))


@pytest.mark.parametrize("after_chunks", [1, 4])
async def test_killed_amid_a_large_log_it_is_exact_in_the_end(
    bench: Bench, after_chunks: int
) -> None:
    step = bench.coordinator.add_step("seq 1500000")
    agent = await bench.start_process()
    await until(lambda: len(step.log) >= after_chunks * 1_000_000 or step.state == "done")
    await until(lambda: bench.has_ended(step) or step.state == "done")
    await bench.kill(agent)
    await bench.start_process()
    await ended(step)
    assert step.completion is not None
    assert step.completion.status is Completion.SUCCESS
    assert step.text == "".join(f"{number}\n" for number in range(1, 1_500_001))


async def test_killed_again_and_again_the_steps_still_end(bench: Bench) -> None:
    steps = [
        bench.coordinator.add_step(
            f"seq 1000; sleep 0.0{n}; mkdir o; echo {n} > o/f", outputPaths=["o"]
        )
        for n in range(9)
    ]
    for round_number in range(5):
        agent = await bench.start_process(slots=3)
        await asyncio.sleep(0.25 + 0.07 * round_number)
        await bench.kill(agent)
        for step in steps:
            lost = step.completion is not None and step.completion.reason is CompletionReason.LOST
            # What a coordinator does when an offer or a lease runs out, or the agent says lost.
            if (
                step.state == "offered"
                or (step.state == "running" and bench.attempt(step) is None)
                or (step.state == "done" and lost)
            ):
                step.completion = None
                step.ended.clear()
                bench.coordinator.hand_out_again(step)
    await bench.start_process(slots=3)
    for step in steps:
        while True:
            await ended(step)
            assert step.completion is not None
            if step.completion.reason is not CompletionReason.LOST:
                break
            step.completion = None
            step.ended.clear()
            bench.coordinator.hand_out_again(step)
    text = "".join(f"{number}\n" for number in range(1, 1001))
    assert all(step.text == text for step in steps)
    assert all(set(step.artifacts) == {"o/f"} for step in steps)


async def test_the_first_sigterm_drains_and_the_process_ends_well(bench: Bench) -> None:
    step = bench.coordinator.add_step(f"echo begun; {waiting_script(bench, 'go')}; echo ended")
    agent = await bench.start_process()
    await asyncio.wait_for(step.logged.wait(), PATIENCE_SECONDS)
    agent.send_signal(signal.SIGTERM)
    await until(lambda: any(poll.free == 0 and poll.leases for poll in bench.coordinator.polls))
    later = bench.coordinator.add_step("true")
    (bench.root / "shared" / "go").touch()
    assert await asyncio.wait_for(agent.wait(), PATIENCE_SECONDS) == 0
    assert step.text == "begun\nended\n"
    assert later.state == "ready"


async def test_the_second_sigterm_reports_the_running_step_lost(bench: Bench) -> None:
    step = bench.coordinator.add_step("echo begun; sleep 1000")
    agent = await bench.start_process()
    await asyncio.wait_for(step.logged.wait(), PATIENCE_SECONDS)
    agent.send_signal(signal.SIGTERM)
    await until(lambda: any(poll.free == 0 and poll.leases for poll in bench.coordinator.polls))
    started = quiet_seconds()
    agent.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(agent.wait(), PATIENCE_SECONDS) == 0
    assert quiet_seconds() - started < 3
    assert step.completion is not None
    assert step.completion.reason is CompletionReason.LOST
