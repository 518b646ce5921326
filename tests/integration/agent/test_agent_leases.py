"""The agent ends its scripts when their leases are over, whatever has become of itself."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Literal

import pytest

from pipelines_schema.contract import Completion, CompletionReason
from tests.integration.agent_bench import PATIENCE_SECONDS, Bench, ended, open_bench
from tests.integration.fake_coordinator import Step

LEASE_SECONDS = 2.0


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


def endless_step(bench: Bench, **spec: object) -> Step:
    """One that tells its process id, and goes on until the file `go` is there."""
    shared = bench.root / "shared"
    return bench.coordinator.add_step(
        f"echo $$ > {shared}/pid; echo begun; until [ -e {shared}/go ]; do sleep 0.05; done; "
        "echo ended",
        leaseSeconds=LEASE_SECONDS,
        **spec,
    )


async def begun(bench: Bench, step: Step) -> Path:
    """What exists for as long as the script runs."""
    await asyncio.wait_for(step.logged.wait(), PATIENCE_SECONDS)
    return Path("/proc", (bench.root / "shared" / "pid").read_text().strip())


async def test_a_script_whose_agent_is_cut_off_ends_and_is_reported_lost_with_its_log(
    bench: Bench,
) -> None:
    step = endless_step(bench)
    async with bench.agent():
        process = await begun(bench, step)
        await bench.coordinator.stop()
        await until(lambda: not process.exists())
        await bench.coordinator.start()
        await ended(step)
    assert step.completion is not None
    assert step.completion.reason is CompletionReason.LOST
    assert "lease" in str(step.completion.message)
    assert step.text == "begun\n"
    assert bench.journal == []


async def test_a_script_outlives_many_leases_that_are_renewed(bench: Bench) -> None:
    step = endless_step(bench)
    async with bench.agent():
        await begun(bench, step)
        await until(lambda: len(bench.coordinator.renewals) >= 7)
        (bench.root / "shared" / "go").touch()
        await ended(step)
    assert step.completion is not None
    assert step.completion.status is Completion.SUCCESS


async def test_a_script_whose_agent_is_stopped_ends_with_its_lease(bench: Bench) -> None:
    step = endless_step(bench)
    agent = await bench.start_process()
    process = await begun(bench, step)
    agent.send_signal(signal.SIGSTOP)
    await until(lambda: not process.exists())
    agent.send_signal(signal.SIGCONT)
    await ended(step)
    assert step.completion is not None
    assert step.completion.reason is CompletionReason.LOST


async def test_a_step_that_may_not_run_again_runs_on_without_a_lease(bench: Bench) -> None:
    bound = endless_step(bench)
    async with bench.agent():
        bound_process = await begun(bench, bound)
        free = endless_step(bench, endsWithLease=False)
        process = await begun(bench, free)
        await bench.coordinator.stop()
        # The first one's end shows that the time of both leases is over.
        await until(lambda: not bound_process.exists())
        assert process.exists()
        (bench.root / "shared" / "go").touch()
        await bench.coordinator.start()
        await ended(free)
    assert free.completion is not None
    assert free.completion.status is Completion.SUCCESS


async def test_an_agent_names_its_process_and_says_goodbye(bench: Bench) -> None:
    step = bench.coordinator.add_step("true")
    async with bench.agent():
        await ended(step)
    (goodbye,) = bench.coordinator.goodbyes
    named = {request.instance for request in bench.coordinator.polls}
    named |= {request.instance for request in bench.coordinator.registrations}
    assert named == {goodbye.instance}
    assert goodbye.leases == []


async def test_a_goodbye_names_what_the_next_process_reports(bench: Bench) -> None:
    step = endless_step(bench)
    agent = bench.new_agent()
    running = asyncio.create_task(agent.run())
    await begun(bench, step)
    bench.coordinator.refuse_logs = 503
    (bench.root / "shared" / "go").touch()
    await until(lambda: bench.has_ended(step))
    agent.cancel_all()
    await asyncio.wait_for(running, PATIENCE_SECONDS)
    (goodbye,) = bench.coordinator.goodbyes
    assert [(lease.step_id, lease.epoch) for lease in goodbye.leases] == [(step.step_id, 1)]


async def test_an_agent_ends_well_at_a_coordinator_that_knows_no_goodbye(bench: Bench) -> None:
    bench.coordinator.knows_goodbye = False
    step = bench.coordinator.add_step("true")
    async with bench.agent():
        await ended(step)
    assert bench.coordinator.goodbyes == []


GUARDED = """\
import os, signal, sys, time
from agent.lease import Term, boot_clock
from agent.watchdog import Watchdog

watchdog = Watchdog()
term = Term(lease_seconds=1.5, sent_at=boot_clock())
with watchdog.guarding(term):
    if sys.argv[1] == "stopped":
        os.kill(os.getpid(), signal.SIGSTOP)
    while boot_clock() < term.ends_at:
        time.sleep(0.01)
while boot_clock() < term.ends_at + 2 * term.margin_seconds:
    time.sleep(0.01)
watchdog.close()
"""


@pytest.mark.parametrize(("state", "code"), [("stopped", -signal.SIGKILL), ("awake", 0)])
def test_the_watchdog_kills_who_is_stopped_beyond_his_term_and_nobody_else(
    state: str, code: int
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", GUARDED, state], timeout=PATIENCE_SECONDS, cwd=os.getcwd()
    )
    assert done.returncode == code


class Gate(asyncio.Event):
    """It is known when somebody waits before it."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = asyncio.Event()

    async def wait(self) -> Literal[True]:
        self.reached.set()
        return await super().wait()


async def test_a_result_is_reported_before_its_step_is_begun_anew(bench: Bench) -> None:
    coordinator = bench.coordinator
    gate = coordinator.hold_artifacts = Gate()
    step = coordinator.add_step("echo result > file", outputPaths=["file"])
    async with bench.agent():
        await asyncio.wait_for(gate.reached.wait(), PATIENCE_SECONDS)
        step.started.clear()
        coordinator.hand_out_again(step)  # its lease is over, its result still on the way
        await until(lambda: step.state == "offered")
        await asyncio.sleep(0.3)
        assert not step.started.is_set()
        gate.set()  # and what is reported now comes too late
        await asyncio.wait_for(step.started.wait(), PATIENCE_SECONDS)
        await ended(step)
    assert step.epoch == 2
    assert coordinator.breaches == []
