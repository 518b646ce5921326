"""A script of the host engine begins the same, however its agent was started."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence

import pytest

from tests.integration.agent_bench import Bench, ended, open_bench

TELL = """\
grep -E '^Sig(Blk|Ign)' /proc/self/status
umask
ulimit -Sa | grep -vE 'processes|pending|locked'
ls /proc/self/fd | wc -l
ps -o tty= -p $$ || true
"""
ODD = (
    "trap '' HUP INT QUIT USR1 TERM PIPE ALRM CHLD; umask 077; ulimit -S -n 300; "
    "ulimit -S -s 1024; ulimit -S -f 1000000; ulimit -S -t 100000; ulimit -S -c unlimited; "
    'exec 7</dev/null 277</dev/null; exec "$@"'
)
ODD_STARTS = {
    "nohup": ["nohup"],
    "a shell with limits, masks, ignored signals and open files": ["bash", "-c", ODD, "-"],
    "blocked signals": ["env", "--block-signal"],
}


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with open_bench() as bench:
        yield bench


async def told(bench: Bench, script: str, within: Sequence[str] = ()) -> str:
    step = bench.coordinator.add_step(script)
    agent = await bench.start_process(within=within)
    await ended(step)
    await bench.kill(agent)
    return step.text


@pytest.mark.parametrize("start", ODD_STARTS)
async def test_a_script_begins_the_same_however_the_agent_was_started(
    bench: Bench, start: str
) -> None:
    plain = await told(bench, TELL)
    assert await told(bench, TELL, ODD_STARTS[start]) == plain
    assert "open files                          (-n) 1024" in plain
    assert "core file size              (blocks, -c) 0" in plain
    assert "0022" in plain.splitlines()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may lower a niceness")
async def test_a_nice_agent_runs_scripts_that_are_not(bench: Bench) -> None:
    script = "nice; ionice -p $$; chrt -p $$ | head -1 | grep -o SCHED_.*"
    within = ["nice", "-n", "7", "ionice", "-c", "3", "chrt", "-b", "0"]
    assert await told(bench, script, within) == await told(bench, script)
    assert (await told(bench, "nice", within)) == "0\n"
