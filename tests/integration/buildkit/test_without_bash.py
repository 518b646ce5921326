"""Scripts that are not bash's, in an image that has no bash: the same as beside one.

Its sh is busybox's; dash, Debian's, stands in front of that where this machine has it.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from agent.engines.end_request import EndRequest
from agent.engines.protocol import CacheMount, Outcome, StepResult
from tests.integration.asked_to_end import Asked, end_when_up

from .conftest import Bench, Ran, bench_of
from .test_buildkit_endings import limit_memory
from .test_buildkit_scripts import WRAPPERS_OWN

if TYPE_CHECKING:
    from .conftest import Marker, TestEngine

pytestmark = pytest.mark.engine


class DashBench(Bench):
    """Steps whose sh is dash, which comes with their inputs."""

    async def run(self, script: str, **wanted: Any) -> Ran:
        path = "/workspace/d:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        env = {"PATH": path} | dict(wanted.pop("env", {}))
        return await super().run(script, env=env, inputs=self.folder / "dash", **wanted)


def put_dash(folder: Path) -> None:
    """With its libraries, for an image that has none."""
    program = shutil.which("dash")
    if program is None:
        pytest.skip("this machine has no dash")
    folder.mkdir(parents=True)
    shutil.copy(program, folder / "dash")
    said = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    for library in re.findall(r"(/\S+)", said):
        shutil.copy(library, folder)
    [loader] = [path.name for path in folder.glob("ld-linux*")]
    start = f'exec /workspace/d/{loader} --library-path /workspace/d /workspace/d/dash "$@"'
    (folder / "sh").write_text(f"#!/usr/bin/busybox sh\n{start}\n")
    (folder / "sh").chmod(0o755)


@pytest.fixture(params=["copied log", "trusted log", "dash"])
async def plain(
    request: pytest.FixtureRequest, engine_under_test: TestEngine, tmp_path: Path
) -> AsyncIterator[Bench]:
    trusted = request.param == "trusted log"
    if not engine_under_test.busybox_image or (trusted and not engine_under_test.lifted):
        pytest.skip("this engine has no image without bash, or clips logs")
    of_busybox = replace(engine_under_test, image=engine_under_test.busybox_image)
    async with bench_of(of_busybox, tmp_path, trusted=trusted) as made:
        if request.param != "dash":
            yield made
            return
        put_dash(made.folder / "dash" / "d")
        yield DashBench(engine=made.engine, image=made.image, builder_image="", folder=made.folder)


async def test_a_script_of_bash_says_what_is_missing(plain: Bench) -> None:
    ran = await plain.run("true")
    assert ran.result.outcome is Outcome.ENGINE_FAILED
    assert "has no bash that could run" in (ran.result.message or "")
    assert "or use another image, `shell: sh`" in (ran.result.message or "")
    ran = await plain.run("true", shell="sh", env={"PATH": "/nowhere"})
    assert "has no sh that could run" in (ran.result.message or "")


@pytest.mark.parametrize("code", [0, 7, 137, 255])
async def test_the_exit_code_is_the_scripts_own(plain: Bench, code: int) -> None:
    ran = await plain.run(f"exit {code}", shell="sh")
    assert (ran.result.outcome, ran.result.exit_code) == (Outcome.EXITED, code)


async def test_scripts_are_strict_and_begin_as_anywhere(plain: Bench) -> None:
    ran = await plain.run(
        "command -v bash || echo none; cat; readlink /proc/self/fd/0; pwd; id -u; "
        "echo $IMAGE_ENV $HOME; echo err >&2; false; echo not reached",
        shell="sh",
    )
    assert ran.log.stdout == b"none\n/dev/null\n/workspace\n0\nfrom-image /root\nerr\n"
    assert (ran.log.stderr, ran.result.exit_code) == (b"", 1)


async def test_a_script_that_kills_itself_is_reported_as_killed(plain: Bench) -> None:
    ran = await plain.run("echo before; kill -9 $$; echo after", shell="sh")
    assert (ran.result.outcome, ran.result.exit_code) == (Outcome.EXITED, 137)
    assert (ran.log.stdout, ran.log.stderr) == (b"before\n", b"")


async def test_signals_behave_as_in_a_shell_of_ones_own(plain: Bench) -> None:
    ran = await plain.run(
        "trap 'echo caught' INT QUIT TERM; kill -INT $$; kill -QUIT $$; kill -TERM $$; echo on",
        shell="sh",
    )
    assert ran.log.stdout == b"caught\ncaught\ncaught\non\n"


async def test_lines_of_both_streams_keep_the_scripts_order(plain: Bench) -> None:
    ran = await plain.run("for i in $(seq 3000); do echo out $i; echo err $i >&2; done", shell="sh")
    assert ran.log.stdout == b"".join(b"out %d\nerr %d\n" % (i, i) for i in range(1, 3001))


async def test_20_megabytes_are_exact(plain: Bench) -> None:
    ran = await plain.run("head -c 20000000 /dev/zero | tr '\\0' x; printf end; exit 4", shell="sh")
    assert len(ran.log.stdout) == 20_000_003
    assert ran.log.stdout.endswith(b"xend")
    assert ran.result.exit_code == 4


async def test_output_is_given_on_while_the_script_runs_and_a_cancel_ends_it(
    plain: Bench, marker: Marker
) -> None:
    log = plain.log()
    script = f"trap '' TERM; setsid sleep {marker.word} & echo first; sleep {marker.word}"
    running = asyncio.create_task(plain.run(script, log=log, shell="sh"))
    await log.wait_for(b"first\n")
    assert not running.done()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert marker.processes() == []


async def test_a_background_process_neither_delays_the_end_nor_survives_it(
    plain: Bench, marker: Marker
) -> None:
    ran = await plain.run(
        f"sleep {marker.word} & setsid sleep {marker.word} & echo quick; exit 5", shell="sh"
    )
    assert (ran.log.stdout, ran.result.exit_code) == (b"quick\n", 5)
    assert ran.quiet_seconds < 20
    assert marker.processes() == []


@pytest.mark.parametrize("kind", ["env", "secrets"])
async def test_variables_may_be_called_as_the_wrappers_own(plain: Bench, kind: str) -> None:
    names = [*WRAPPERS_OWN.split(), "now", "end", "left", "self", "start", "pause"]
    values = {name: f"mine {name}" for name in names}
    script = "".join(f'printf "%s\\n" "${name}"; ' for name in values) + "exit 3"
    ran = await plain.run(script, **{kind: values}, shell="sh")
    assert ran.log.stdout.decode().splitlines() == list(values.values())
    assert ran.result.exit_code == 3


async def test_secrets_are_whole(plain: Bench) -> None:
    values = {"A": "a\\n b\n\n", "B": "", "C": "\n x 'y' $z \\", "D": "Ä" * 3000}
    script = "".join(f'printf "%s" "${name}" | cmp - $PUSHROD_SECRETS/{name}; ' for name in values)
    ran = await plain.run(script + "echo same", secrets=values, shell="sh")
    assert (ran.log.stdout, ran.result.exit_code) == (b"same\n", 0)


async def test_programs_get_the_script_and_a_missing_one_is_named(plain: Bench) -> None:
    ran = await plain.run("{ print $1; exit 3 }", shell="head -n 1")
    assert (ran.log.stdout, ran.result.exit_code) == (b"{ print $1; exit 3 }", 0)
    ran = await plain.run("x", shell="python")
    assert b"no program python3, which" in ran.log.stdout
    assert ran.result.exit_code == 127


@pytest.mark.parametrize("user", ["1234:56", "1000"])
async def test_a_step_of_another_user_has_folder_outputs_and_values(
    plain: Bench, tmp_path: Path, user: str
) -> None:
    (tmp_path / "tree" / "it's").mkdir(parents=True)
    os.close(os.open(os.fsencode(tmp_path) + b"/tree/it's/\xff%2\n", os.O_CREAT))
    os.symlink(b"\xfe", tmp_path / "tree" / "link")
    ran = await plain.run(
        "pwd; find . -type f -print0 | od -An -tx1; readlink ../link | od -An -tx1; "
        'mkdir -p ../out; echo made > ../out/file; echo k=v >> "$PUSHROD_OUTPUT"',
        shell="sh",
        user=user,
        workdir="it's",
        env={"PUSHROD_OUTPUT": "/.pushrod/record/values"},
        source=plain.source(folder=tmp_path / "tree", key=str(tmp_path)),
        output_paths=["out/"],
    )
    assert ran.result.exit_code == 0, ran.log.stdout
    assert ran.log.stdout == b"/workspace/it's\n 2e 2f ff 25 32 0a 00\n fe 0a\n"
    assert ran.collected() == {"out/file": b"made\n"}
    assert ran.result.values == b"k=v\n"


async def test_sockets_are_named(plain: Bench) -> None:
    script = (
        "mkdir out; ln -s /workspace/out/socket /dev/log; syslogd -n & "
        "while ! test -S out/socket; do sleep 0.05; done"
    )
    ran = await plain.run(script, shell="sh", output_paths=["out/"])
    assert ran.result.exit_code == 0, ran.log.stdout
    assert any("out/socket" in one for one in ran.result.unkept), ran.result


async def test_a_cache_begins_as_a_copy_of_another(plain: Bench) -> None:
    one, other = (f"test-{os.urandom(8).hex()}" for _ in range(2))
    first = CacheMount(id=one, path="/c")
    await plain.run("echo kept > /c/file", shell="sh", cache_mounts=[first])
    second = CacheMount(id=other, path="/c", begins_as=[one])
    ran = await plain.run("cat /c/file", shell="sh", cache_mounts=[second])
    assert ran.log.stdout.endswith(b"kept\n")


async def test_a_step_is_killed_at_its_timeout_with_all_its_processes(
    plain: Bench, marker: Marker
) -> None:
    script = f"trap '' TERM INT; setsid sleep {marker.word} & echo up; sleep {marker.word}"
    ran = await plain.run(script, shell="sh", timeout_seconds=1.5)
    assert (ran.result.outcome, ran.result.exit_code) == (Outcome.TIMED_OUT, None)
    assert ran.log.stdout == b"up\n"
    assert ran.seconds > 1.5
    assert ran.quiet_seconds < 4
    assert marker.processes() == []


@pytest.mark.parametrize("kill", ["kill -9 -1", "killall -9 sleep"])
async def test_a_step_that_disarms_its_own_timeout_is_killed_all_the_same(
    plain: Bench, marker: Marker, kill: str
) -> None:
    began = time.monotonic()
    ran = await plain.run(f"{kill}; sleep {marker.word}", shell="sh", timeout_seconds=2)
    assert ran.result.outcome is Outcome.TIMED_OUT
    assert time.monotonic() - began > 2
    assert marker.processes() == []


WAITING = "exec 2>/dev/null; echo up; while :; do sleep 0.05 || :; done"
ASKED = (
    Asked(
        name="a trap has its time, and its code counts",
        script=f"trap 'echo begun; sleep 0.5; echo over; exit 9' TERM; {WAITING}",
        said="begun\nover\n",
        exit_code=9,
    ),
    Asked(name="no trap", script="echo up; sleep 1000", said="", exit_code=143),
    Asked(
        name="what a script without a trap runs has its time",
        script=f"sh -c 'trap \"echo begun; sleep 0.5; echo over; exit 5\" TERM; {WAITING}'; true",
        said="begun\nover\n",
        exit_code=143,
    ),
    Asked(
        name="one that does not listen is killed when its grace is over",
        script=f"trap 'echo no' TERM; {WAITING}",
        said="no\n",
        exit_code=137,
        grace_seconds=1.0,
    ),
    Asked(
        name="what left its group is not asked, and does not survive",
        script="setsid sh -c \"trap 'echo asked' TERM; sleep 1000\" & echo up; wait",
        said="",
        exit_code=143,
    ),
    Asked(
        name="much output of a trap is whole",
        script=f"trap 'seq 1 200000; exit 1' TERM; {WAITING}",
        said="".join(f"{number}\n" for number in range(1, 200_001)),
        exit_code=1,
    ),
)


@pytest.mark.parametrize("asked", ASKED, ids=lambda asked: asked.name)
async def test_a_script_is_asked_to_end(plain: Bench, asked: Asked) -> None:
    end, log = EndRequest(), plain.log()

    async def run() -> StepResult:
        ran = await plain.run(
            asked.script, log=log, shell="sh", grace_seconds=asked.grace_seconds, end=end
        )
        return ran.result

    await end_when_up(end, log.wait_for(b"up\n"), run(), asked)
    assert log.stdout.decode() == f"up\n{asked.said}"


async def test_a_late_script_is_asked_to_end_and_its_outputs_are_kept(plain: Bench) -> None:
    ran = await plain.run(
        f"trap 'echo late; echo x > out; exit 0' TERM; {WAITING}",
        shell="sh",
        timeout_seconds=1,
        grace_seconds=30,
        output_paths=["out"],
    )
    assert (ran.result.outcome, ran.log.stdout) == (Outcome.TIMED_OUT, b"up\nlate\n")
    assert ran.collected() == {"out": b"x\n"}
    assert ran.quiet_seconds < 15


@pytest.mark.skipif(os.geteuid() != 0, reason="limiting a container's memory needs root")
async def test_a_script_killed_for_lack_of_memory_is_reported_as_that(plain: Bench) -> None:
    log = plain.log()
    script = "echo up; part=$(head -c 1000000 /dev/zero | tr '\\0' x); while :; do x=$x$part; done"
    attempt = f"memory-{os.urandom(4).hex()}"
    running = asyncio.create_task(plain.run(script, shell="sh", attempt_id=attempt, log=log))
    await log.wait_for(b"up\n")
    limit_memory(attempt, limit_bytes=60_000_000)
    ran = await running
    assert (ran.result.outcome, ran.result.exit_code) == (Outcome.OUT_OF_MEMORY, 137)
