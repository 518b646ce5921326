"""How steps end that don't end by themselves: timeout, cancel, a killed client, a lost engine."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.engines.buildkit.engine import BuildKitEngine
from agent.engines.end_request import TOO_LATE, EndRequest
from agent.engines.protocol import EngineUnavailable, Outcome, StepResult
from tests.integration.asked_to_end import ASKED, WAITING, Asked, end_when_up
from tests.quiet_time import quiet_seconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Bench, Marker, TestEngine

pytestmark = pytest.mark.engine

CLIENT = """
import asyncio, sys
from pathlib import Path
from agent.engines.buildkit.engine import BuildKitEngine
from agent.engines.protocol import StepRequest

class Echo:
    def write(self, stream, data):
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

async def main(address, image, script, folder):
    for name in ("o", "s"):
        Path(folder, name).mkdir()
    engine = BuildKitEngine(address, data_dir=Path(folder))
    await engine.run(
        StepRequest(attempt_id="killed-client", step_name="killed", image=image, script=script,
                    env={}, timeout_seconds=60,
                    outputs=Path(folder, "o"), scratch=Path(folder, "s")),
        Echo(),
    )

asyncio.run(main(*sys.argv[1:]))
"""


async def until(condition: Callable[[], bool], *, seconds: float) -> float:
    """Wait for a state of this machine; returns how long it took, in seconds."""
    began = time.monotonic()
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)
    return time.monotonic() - began


def long_script(marker: Marker) -> str:
    return f"trap '' TERM INT; setsid sleep {marker.word} & echo up; sleep {marker.word}"


async def test_a_step_is_killed_at_its_timeout_with_all_its_processes(
    bench: Bench, marker: Marker
) -> None:
    ran = await bench.run(long_script(marker), timeout_seconds=1.5)

    assert (ran.result.outcome, ran.result.exit_code) == (Outcome.TIMED_OUT, None)
    assert "1.5 s" in (ran.result.message or "")
    assert ran.log.stdout == b"up\n"
    assert ran.seconds > 1.5
    assert ran.quiet_seconds < 4
    assert marker.processes() == []


@pytest.mark.parametrize("asked", ASKED, ids=lambda asked: asked.name)
async def test_a_script_is_asked_to_end(bench: Bench, asked: Asked) -> None:
    end, log = EndRequest(), bench.log()

    async def run() -> StepResult:
        ran = await bench.run(
            f"echo x > out; {asked.script}",
            log=log,
            grace_seconds=asked.grace_seconds,
            end=end,
            output_paths=["out"],
        )
        assert ran.collected() == {}
        return ran.result

    await end_when_up(end, log.wait_for(b"up\n"), run(), asked)
    assert log.stdout.decode() == f"up\n{asked.said}"


async def test_a_late_script_is_asked_to_end_and_its_outputs_are_kept(bench: Bench) -> None:
    ran = await bench.run(
        f"trap 'echo late; echo x > out; exit 0' TERM; {WAITING}",
        timeout_seconds=2,
        grace_seconds=60.0,
        output_paths=["out"],
    )
    assert ran.result.outcome is Outcome.TIMED_OUT
    assert ran.result.message == TOO_LATE.format(seconds=2)
    assert ran.log.stdout == b"up\nlate\n"
    assert ran.collected() == {"out": b"x\n"}


async def test_a_kill_ends_the_grace(one_bench: Bench, marker: Marker) -> None:
    end, log = EndRequest(), one_bench.log()
    running = asyncio.create_task(
        one_bench.run(
            f"trap 'echo no' TERM; sleep {marker.word} & {WAITING}",
            log=log,
            grace_seconds=300.0,
            end=end,
        )
    )
    await log.wait_for(b"up\n")
    await until(end.make, seconds=60)
    await log.wait_for(b"no\n")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert marker.processes() == []


async def test_a_script_offline_and_of_another_user_is_asked_to_end(one_bench: Bench) -> None:
    """And one that connects to the agent's socket itself keeps the wrapper from nothing."""
    end, log = EndRequest(), one_bench.log()
    script = f"/.pushrod/step/listener & trap 'echo over; exit 4' TERM; {WAITING}"
    asked = Asked(name="", script=script, said="", exit_code=4)

    async def run() -> StepResult:
        ran = await one_bench.run(
            script,
            log=log,
            image=one_bench.builder_image,
            offline=True,
            grace_seconds=60.0,
            end=end,
        )
        return ran.result

    await end_when_up(end, log.wait_for(b"up\n"), run(), asked)
    assert log.stdout == b"up\nover\n"


async def test_without_a_grace_nobody_is_asked(one_bench: Bench) -> None:
    end, log = EndRequest(), one_bench.log()
    running = asyncio.create_task(
        one_bench.run(f"trap 'echo no' TERM; {WAITING}", log=log, end=end)
    )
    await log.wait_for(b"up\n")
    assert not end.make()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert log.stdout == b"up\n"


async def test_the_log_and_the_outputs_of_a_late_step_are_kept(bench: Bench) -> None:
    ran = await bench.run(
        "seq 1 400000 | tee out; echo last >&2; sleep 60", timeout_seconds=3, output_paths=["out"]
    )

    numbers = b"".join(b"%d\n" % number for number in range(1, 400_001))
    assert ran.result.outcome is Outcome.TIMED_OUT
    assert ran.log.stdout == numbers + b"last\n"
    assert ran.collected() == {"out": numbers}


SHELLS_THAT_WAIT = "for i in {1..20}; do bash -c 'sleep 60; echo later' & done; echo up; "
"""Each would write of its `sleep` that it was killed, if it lived to see that."""


async def test_no_process_of_a_late_step_writes_of_anothers_death(bench: Bench) -> None:
    ran = await bench.run(SHELLS_THAT_WAIT + "wait", timeout_seconds=2)

    assert (ran.result.outcome, ran.log.stdout) == (Outcome.TIMED_OUT, b"up\n")


async def test_no_process_that_a_script_left_writes_of_anothers_death(bench: Bench) -> None:
    ran = await bench.run(SHELLS_THAT_WAIT + "sleep 0.5")

    assert (ran.result.exit_code, ran.log.stdout) == (0, b"up\n")


async def test_a_step_that_disarms_its_own_timeout_is_killed_all_the_same(
    one_bench: Bench, marker: Marker
) -> None:
    ran = await one_bench.run(f"kill -9 -1; sleep {marker.word}", timeout_seconds=0.5)

    assert ran.result.outcome is Outcome.TIMED_OUT
    assert marker.processes() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="limiting a container's memory needs root")
async def test_a_script_killed_for_lack_of_memory_is_reported_as_that(one_bench: Bench) -> None:
    log = one_bench.log()
    running = asyncio.create_task(
        one_bench.run(
            "echo up; part=$(head -c 1000000 /dev/zero | tr '\\0' x); while :; do x=$x$part; done",
            attempt_id=(attempt := f"memory-{os.getpid()}"),
            log=log,
        )
    )
    await log.wait_for(b"up\n")
    limit_memory(attempt, limit_bytes=60_000_000)

    ran = await running

    assert (ran.result.outcome, ran.result.exit_code) == (Outcome.OUT_OF_MEMORY, 137)


def limit_memory(attempt: str, *, limit_bytes: int) -> None:
    """Limit the container of an attempt, by its wrapper's control group."""
    mark = f"PUSHROD_ATTEMPT_ID={attempt}".encode()
    (wrapper,) = (
        entry
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit()
        and b"/.pushrod/step/wrapper" in read_or_nothing(entry / "cmdline")
        and mark in read_or_nothing(entry / "environ").split(b"\0")
        and b"NSpid:" in (status := read_or_nothing(entry / "status"))
        and status.split(b"NSpid:")[1].splitlines()[0].split()[-1] == b"1"
    )
    for line in (wrapper / "cgroup").read_text().splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers == "memory":
            file = Path(f"/sys/fs/cgroup/memory{group}/memory.limit_in_bytes")
            file.write_text(str(limit_bytes))
        elif controllers == "" and Path(f"/sys/fs/cgroup{group}/memory.max").exists():
            Path(f"/sys/fs/cgroup{group}/memory.max").write_text(str(limit_bytes))


def read_or_nothing(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # the process ended meanwhile
        return b""


async def test_a_cancelled_step_is_gone_within_a_second(bench: Bench, marker: Marker) -> None:
    log = bench.log()
    running = asyncio.create_task(bench.run(long_script(marker), log=log))
    await log.wait_for(b"up\n")
    await until(lambda: len(marker.processes()) == 2, seconds=30)

    began = quiet_seconds()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert quiet_seconds() - began < 1
    assert marker.processes() == []


async def test_one_step_is_cancelled_and_its_neighbour_runs_on(
    one_bench: Bench, marker: Marker
) -> None:
    log, other = one_bench.log(), one_bench.log()
    cancelled = asyncio.create_task(one_bench.run(long_script(marker), log=log))
    neighbour = asyncio.create_task(
        one_bench.run("echo up; sleep 2; echo still here; exit 6", log=other)
    )
    await asyncio.gather(log.wait_for(b"up\n"), other.wait_for(b"up\n"))

    cancelled.cancel()
    await asyncio.wait((cancelled,))
    ran = await neighbour

    assert (ran.result.exit_code, ran.log.stdout) == (6, b"up\nstill here\n")


@pytest.mark.parametrize("delay", [0, 0.01, 0.03, 0.06, 0.1, 0.15, 0.2])
async def test_a_step_cancelled_at_any_moment_leaves_nothing(
    one_bench: Bench, marker: Marker, delay: float
) -> None:
    running = asyncio.create_task(one_bench.run(long_script(marker)))
    await asyncio.sleep(delay)

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert marker.processes() == []
    assert (await one_bench.run("echo next")).log.stdout == b"next\n"


async def test_a_killed_client_leaves_no_process(
    engine_under_test: TestEngine, marker: Marker, tmp_path: Path
) -> None:
    client = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        CLIENT,
        engine_under_test.address,
        engine_under_test.image,
        f"echo up; sleep {marker.word}",
        str(tmp_path),
        stdout=asyncio.subprocess.PIPE,
    )
    assert client.stdout is not None
    assert await client.stdout.readline() == b"up\n"
    # The client itself has the word in its arguments only as a part of one.
    await until(lambda: len(marker.processes()) == 1, seconds=30)

    client.kill()
    await client.wait()

    await until(lambda: marker.processes() == [], seconds=30)


async def test_a_client_killed_while_its_container_starts_is_reaped(
    engine_under_test: TestEngine, one_bench: Bench, marker: Marker, tmp_path: Path
) -> None:
    for attempt, delay in enumerate((0.3, 0.35, 0.4, 0.45)):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        client = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            CLIENT,
            engine_under_test.address,
            engine_under_test.image,
            f"sleep {marker.word}",
            str(folder),
        )
        await asyncio.sleep(delay)
        client.kill()
        await client.wait()

    # What the engine forgot to kill shows within the time that a container takes to start.
    await asyncio.sleep(1)
    await one_bench.engine.reap("killed-client")

    assert marker.processes() == []


async def test_an_engine_that_is_not_there_says_what_to_do(tmp_path: Path) -> None:
    engine = BuildKitEngine(f"unix://{tmp_path}/none.sock", data_dir=tmp_path)

    with pytest.raises(EngineUnavailable, match="pushrod engine up"):
        await engine.check()
    await engine.close()


async def test_what_is_no_buildkit_is_refused(tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    path = str(tmp_path / "web.sock")
    async with await asyncio.start_unix_server(answer, path):
        engine = BuildKitEngine(f"unix://{path}", data_dir=tmp_path)
        with pytest.raises(EngineUnavailable, match="does not answer as BuildKit"):
            await engine.check()
        await engine.close()


async def test_the_engine_says_what_it_is(one_bench: Bench, engine_under_test: TestEngine) -> None:
    info = await one_bench.engine.check()

    assert (info.name, info.address) == ("buildkit", engine_under_test.address)
    assert info.version
