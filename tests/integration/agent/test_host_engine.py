"""The host engine with real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import textwrap
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agent.engines.host import HostEngine
from agent.engines.host_trees import remove_tree
from agent.engines.outputs import collect_outputs
from agent.engines.protocol import CacheMount, Outcome, StepRequest, StepResult
from pipelines_schema.log_frames import Stream
from tests.quiet_time import quiet_seconds

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@dataclass
class Output:
    pieces: list[tuple[Stream, bytes]] = field(default_factory=list)
    came: asyncio.Event = field(default_factory=asyncio.Event)

    def write(self, stream: Stream, data: bytes) -> None:
        self.pieces.append((stream, data))
        self.came.set()

    def of(self, stream: Stream) -> bytes:
        return b"".join(data for which, data in self.pieces if which is stream)

    @property
    def text(self) -> str:
        return b"".join(data for _, data in self.pieces).decode()


@dataclass
class Tree:
    folder: Path
    key: str = "tree"
    git: None = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Path]:
        yield self.folder


class Bench:
    """A host engine with folders of its own, reachable by the user scripts run as."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.engine = HostEngine(
            data_dir=root, work_dir=root / "work", user_id_table=root / "users" / "user-ids.json"
        )
        # Of this test alone: what is reaped is found by it, on the whole machine.
        self.attempt_id = f"attempt-{uuid.uuid4()}"
        self.outputs = root / "outputs"
        self.output = Output()

    def request(self, script: str, **more: object) -> StepRequest:
        self.outputs = Path(tempfile.mkdtemp(dir=self.root))
        values = {
            "attempt_id": self.attempt_id,
            "step_name": "test",
            "image": None,
            "script": textwrap.dedent(script),
            "env": {},
            "timeout_seconds": 30.0,
            "outputs": self.outputs,
            "scratch": self.root,
            **more,
        }
        return StepRequest(**values)  # type: ignore[arg-type]

    async def run(self, script: str, **more: object) -> StepResult:
        self.output = Output()
        return await self.engine.run(self.request(script, **more), self.output)

    def leftovers(self) -> list[Path]:
        return list((self.root / "work" / "attempts").iterdir())


@pytest.fixture
def bench() -> Iterator[Bench]:
    # Not tmp_path: pytest makes that unreachable for other users.
    root = Path(tempfile.mkdtemp(prefix="pushrod-host-"))
    root.chmod(0o711)
    yield Bench(root)
    remove_tree(root)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


async def gone(pid: int, *, within_seconds: float) -> bool:
    deadline = time.monotonic() + within_seconds
    while is_alive(pid):
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.01)
    return True


async def test_the_exit_code_is_the_scripts(bench: Bench) -> None:
    assert (await bench.run("exit 0")).exit_code == 0
    assert (await bench.run("exit 7")).exit_code == 7
    assert (await bench.run("kill -9 $$")).exit_code == 137


async def test_a_script_stops_at_its_first_failure_also_in_a_pipe(bench: Bench) -> None:
    result = await bench.run("echo one\nfalse | cat\necho two")
    assert result.exit_code == 1
    assert bench.output.text == "one\n"


async def test_both_streams_come_whole_and_byte_exact(bench: Bench) -> None:
    await bench.run(r"printf 'a\0\xff\r\n'; printf 'no end of line' >&2; head -c 3000000 /dev/zero")
    assert bench.output.of(Stream.STDOUT) == b"a\0\xff\r\nno end of line" + bytes(3_000_000)


async def test_lines_of_both_streams_keep_the_scripts_order(bench: Bench) -> None:
    await bench.run("for i in {1..3000}; do echo out $i; echo err $i >&2; done")
    assert bench.output.text == "".join(f"out {i}\nerr {i}\n" for i in range(1, 3001))


async def test_a_script_opens_its_streams_by_their_names(bench: Bench) -> None:
    result = await bench.run("echo 1 > /dev/stdout; echo 2 > /dev/stderr; echo 3 | tee /dev/fd/2")
    assert (result.exit_code, bench.output.text) == (0, "1\n2\n3\n3\n")


async def test_output_comes_while_the_script_runs(bench: Bench) -> None:
    running = asyncio.create_task(bench.run("echo first; sleep 30"))
    await asyncio.sleep(0)
    async with asyncio.timeout(60):
        await bench.output.came.wait()
    assert bench.output.text == "first\n"
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_nothing_of_the_agents_environment_reaches_the_script(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PUSHROD_TOKEN", "secret")
    await bench.run("env -0", env={"COLOUR": "blue\nand red"})
    names = dict(line.split("=", 1) for line in bench.output.text.split("\0") if line)
    assert "PUSHROD_TOKEN" not in names
    assert names["COLOUR"] == "blue\nand red"
    assert names["PUSHROD_WORKSPACE"].endswith("/workspace")
    assert set(names) <= {
        *("PATH", "HOME", "LANG", "TMPDIR", "SHELL", "COLOUR", "PUSHROD_WORKSPACE"),
        *("PUSHROD_HOST_ATTEMPT", "PUSHROD_OUTPUT", "PWD", "SHLVL", "_", "OLDPWD"),
    }


async def test_the_script_has_no_standard_input_and_ignores_no_signal(bench: Bench) -> None:
    await bench.run("cat; grep SigIgn /proc/self/status")
    # make starts its children with 32 and 33 ignored, which belong to the C library's threads: no
    # process can set them back.
    ignored = int(bench.output.text.removeprefix("SigIgn:").strip(), 16)
    assert ignored & ~(0b11 << 31) == 0


async def test_no_file_of_the_agent_is_open_in_the_script(bench: Bench) -> None:
    await bench.run("ls /proc/self/fd | wc -l")
    # 0, 1, 2 and the folder that ls itself has open.
    assert bench.output.text.strip() == "4"


async def test_children_that_left_the_session_end_with_the_script(bench: Bench) -> None:
    result = await bench.run(
        """
        setsid sleep 1000 &
        (setsid bash -c 'trap "" TERM HUP; sleep 1001 & echo $!; wait' &)
        sleep 0.2
        """
    )
    assert result.exit_code == 0
    assert not is_alive(int(bench.output.text))


async def test_a_background_child_that_holds_the_output_does_not_delay_the_end(
    bench: Bench,
) -> None:
    started = quiet_seconds()
    await bench.run("sleep 20 & echo done")
    assert quiet_seconds() - started < 5
    assert bench.output.text == "done\n"


async def test_a_timeout_ends_the_script_and_says_so(bench: Bench) -> None:
    result = await bench.run("echo $$; sleep 1000", timeout_seconds=0.5)
    assert result.outcome is Outcome.TIMED_OUT
    assert "0.5 s" in str(result.message)
    assert not is_alive(int(bench.output.text))


async def test_a_cancel_kills_within_a_second_and_leaves_nothing(bench: Bench) -> None:
    running = asyncio.create_task(bench.run("trap '' TERM INT; echo $$; sleep 1000; sleep 1000"))
    await asyncio.sleep(0)
    await asyncio.wait_for(bench.output.came.wait(), 60)
    started = quiet_seconds()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert quiet_seconds() - started < 1
    assert not is_alive(int(bench.output.text))
    assert bench.leftovers() == []


async def test_a_fork_bomb_is_ended(bench: Bench) -> None:
    # Bounded in breadth, so that a failure of this test doesn't take the machine with it.
    result = await bench.run(
        """
        grow() { sleep 0.05; [ $1 -gt 6 ] || { grow $(($1+1)) & grow $(($1+1)) & }; sleep 999; }
        grow 0 & sleep 0.3
        """
    )
    assert result.exit_code == 0
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    assert f"attempts/{bench.attempt_id}/script.sh" not in running.stdout


async def test_the_workspace_goes_even_where_the_script_took_the_rights_away(bench: Bench) -> None:
    await bench.run("mkdir -p a/b; touch a/b/c; chmod 000 a/b; chmod 500 a")
    assert bench.leftovers() == []


async def test_the_source_and_the_inputs_are_laid_over_each_other(
    bench: Bench, tmp_path: Path
) -> None:
    source, inputs = tmp_path / "source", tmp_path / "inputs"
    (source / "dir").mkdir(parents=True)
    (source / "dir" / "a").write_text("source a")
    (source / "dir" / "b").write_text("source b")
    (source / "run").write_text("#!/bin/sh\necho ran")
    (source / "run").chmod(0o755)
    (source / "link").symlink_to("dir/a")
    (inputs / "dir").mkdir(parents=True)
    (inputs / "dir" / "b").write_text("input b")
    await bench.run("cat dir/a dir/b link; ./run; touch new", source=Tree(source), inputs=inputs)
    assert bench.output.text == "source ainput bsource aran\n"
    assert sorted(path.name for path in source.iterdir()) == ["dir", "link", "run"]


async def test_an_input_never_goes_through_a_link_of_the_source(
    bench: Bench, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    source, inputs = tmp_path / "source", tmp_path / "inputs"
    source.mkdir()
    inputs.mkdir()
    (source / "file").symlink_to(victim)
    (inputs / "file").write_text("input")
    result = await bench.run("cat file", source=Tree(source), inputs=inputs)
    assert (result.exit_code, bench.output.text) == (0, "input")
    assert victim.read_text() == "untouched"


async def test_outputs_are_collected_also_after_a_failure(bench: Bench) -> None:
    result = await bench.run(
        """
        mkdir -p dist/sub reports; echo 1 > dist/a.whl; echo 2 > dist/sub/b.whl; echo 3 > dist/c
        echo 4 > reports/r.xml; chmod 755 reports/r.xml; ln -s r.xml reports/latest
        exit 3
        """,
        output_paths=["dist/**/*.whl", "reports/", "missing/*"],
    )
    assert result.exit_code == 3
    found = {
        path.relative_to(bench.outputs).as_posix(): path.read_text().strip()
        for path in bench.outputs.rglob("*")
        if path.is_file()
    }
    assert found == {
        "dist/a.whl": "1",
        "dist/sub/b.whl": "2",
        "reports/r.xml": "4",
        "reports/latest": "4",
    }
    assert (bench.outputs / "reports/latest").is_symlink()
    assert stat.S_IMODE((bench.outputs / "reports/r.xml").stat().st_mode) == 0o755
    assert result.notes == ("outputPaths: nothing matches missing/*",)


async def test_an_output_path_that_points_outside_is_refused_with_a_note(bench: Bench) -> None:
    result = await bench.run("ln -s /etc/passwd leak", output_paths=["leak", "../x", "/etc/passwd"])
    assert [path.name for path in bench.outputs.rglob("*")] == ["leak"]
    assert (bench.outputs / "leak").is_symlink()
    assert len(result.notes) == 2
    assert all("not stored" in note for note in result.notes)


def test_a_socket_among_the_outputs_cannot_be_kept(bench: Bench) -> None:
    workspace, outputs = bench.root / "w", bench.root / "o"
    workspace.mkdir()
    outputs.mkdir()
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(workspace / "s"))
    collected = collect_outputs(workspace, ["*"], outputs)
    assert collected.unkept == ("outputPaths: s is a socket: it can't be kept.",)


def test_a_device_among_the_outputs_cannot_be_kept(bench: Bench) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root makes devices")
    workspace, outputs = bench.root / "w", bench.root / "o"
    workspace.mkdir()
    outputs.mkdir()
    os.mknod(workspace / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    collected = collect_outputs(workspace, ["*"], outputs)
    assert collected.unkept == ("outputPaths: null is a device: it can't be kept.",)


async def test_a_cache_is_there_again_and_the_others_are_named(bench: Bench) -> None:
    caches = [
        CacheMount(id="cache-1", path="/root/.cache/pip"),
        CacheMount(id="cache-2", path="/workspace/node_modules"),
        CacheMount(id="cache-3", path="/var/cache/apt"),
    ]
    script = """
        cat ~/.cache/pip/x node_modules/y || true
        echo 1 > ~/.cache/pip/x; echo 2 > node_modules/y
        """
    first = await bench.run(script, cache_mounts=caches)
    await bench.run(script, cache_mounts=caches)
    assert bench.output.of(Stream.STDOUT) == b"1\n2\n"
    assert len(first.notes) == 1
    assert "/var/cache/apt" in first.notes[0]


def caches_of(bench: Bench) -> set[str]:
    return {path.name for path in (bench.root / "work" / "caches").iterdir()}


async def test_a_clean_attempts_cache_goes_if_its_script_fails_and_stays_else(
    bench: Bench,
) -> None:
    failed = [CacheMount(id="clean-1", path="~/x")]
    await bench.run("echo half > ~/x/y; exit 1", cache_mounts=failed, clean=True)
    assert caches_of(bench) == set()
    await bench.run(
        "echo whole > ~/x/y", cache_mounts=[CacheMount(id="clean-2", path="~/x")], clean=True
    )
    assert caches_of(bench) == {"clean-2"}


async def test_a_cache_that_was_replaced_goes_once_nobody_uses_it(bench: Bench) -> None:
    old = CacheMount(id="old", path="~/x")
    new = CacheMount(id="new", path="~/x", replaces="old")
    gate, output = bench.root / "gate", Output()
    waits = (
        f"echo 1 > ~/x/y; touch {gate}; until [ -e {gate}.open ]; do sleep 0.02; done; cat ~/x/y"
    )
    gate.parent.chmod(0o777)
    using = asyncio.create_task(
        bench.engine.run(bench.request(waits, attempt_id="attempt-2", cache_mounts=[old]), output)
    )
    while not gate.exists():
        await asyncio.sleep(0.01)
    await bench.run("echo 2 > ~/x/y", cache_mounts=[new])
    assert caches_of(bench) == {"old", "new"}
    Path(f"{gate}.open").touch()
    assert (await using).exit_code == 0
    assert output.of(Stream.STDOUT) == b"1\n"
    assert caches_of(bench) == {"new"}


async def test_a_cache_begins_as_a_copy_of_the_first_that_is_there(bench: Bench) -> None:
    old = CacheMount(id="old", path="~/x")
    new = CacheMount(id="new", path="~/x", begins_as=["none", "old"])
    await bench.run("ln -s y ~/x/link; echo 1 > ~/x/y", cache_mounts=[old])
    said = []
    for mount in (new, new, old):
        await bench.run("cat ~/x/link; ls -A ~/x; echo 2 > ~/x/y", cache_mounts=[mount])
        said.append(bench.output.text)
    line = "pushrod: the cache ~/x begins as a copy of an earlier one\n"
    assert said == [f"{line}1\nlink\ny\n", "2\nlink\ny\n", "1\nlink\ny\n"]
    assert caches_of(bench) == {"old", "new"}


async def test_what_a_copied_cache_outlived_goes_once_the_step_has_succeeded(
    bench: Bench,
) -> None:
    await bench.run("true", cache_mounts=[CacheMount(id="old", path="~/x")])
    mount = CacheMount(id="new", path="~/x", outlived=["old"])
    await bench.run("false", cache_mounts=[mount])
    assert caches_of(bench) == {"old", "new"}
    await bench.run("true", cache_mounts=[mount])
    assert caches_of(bench) == {"new"}


async def test_a_cache_never_replaces_what_is_behind_a_link(bench: Bench, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "away").symlink_to(tmp_path)
    (tmp_path / "precious").mkdir()
    cache = CacheMount(id="cache-1", path="/workspace/away/precious")
    result = await bench.run("true", source=Tree(source), cache_mounts=[cache])
    assert result.outcome is Outcome.ENGINE_FAILED
    assert (tmp_path / "precious").is_dir()


async def test_a_nul_byte_is_named_with_its_line(bench: Bench) -> None:
    result = await bench.run("echo one\necho \0two")
    assert result.outcome is Outcome.ENGINE_FAILED
    assert "line 2" in str(result.message)


async def test_an_environment_too_large_for_the_kernel_is_said(bench: Bench) -> None:
    result = await bench.run("true", env={"LARGE": "x" * 3_000_000})
    assert result.outcome is Outcome.ENGINE_FAILED
    assert "Argument list too long" in str(result.message)


async def test_two_attempts_run_side_by_side(bench: Bench) -> None:
    first, second = Output(), Output()
    script = "echo $1 > mine; sleep 0.2; cat mine; pwd"
    results = await asyncio.gather(
        bench.engine.run(bench.request(script, attempt_id="a-1"), first),
        bench.engine.run(bench.request(script, attempt_id="a-2"), second),
    )
    assert [result.exit_code for result in results] == [0, 0]
    assert first.text != second.text


async def test_a_script_that_kills_its_supervisor_is_an_engine_failure(bench: Bench) -> None:
    if os.geteuid() == 0:
        result = await bench.run("kill -9 $PPID; echo alive")
        assert result.exit_code == 1, "another user's process can't be killed"
        return
    result = await bench.run("kill -9 $PPID; sleep 1000")
    assert result.outcome is Outcome.ENGINE_FAILED


@as_root
async def test_root_runs_scripts_as_another_user_that_cannot_read_the_data_folder(
    bench: Bench,
) -> None:
    data = bench.root / "data"
    data.mkdir(mode=0o700)
    (data / "credential").write_text("secret")
    result = await bench.run(
        f"id -u; exec 2>/dev/null; cat {data}/credential; ls {data} || cat /etc/shadow"
    )
    assert result.exit_code != 0
    assert bench.output.of(Stream.STDOUT) == b"60706\n"


@as_root
async def test_root_gives_a_set_user_id_program_no_rights(bench: Bench) -> None:
    await bench.run("grep NoNewPrivs /proc/self/status; grep CapEff /proc/self/status")
    assert bench.output.text.split() == ["NoNewPrivs:", "1", "CapEff:", "0000000000000000"]


@as_root
async def test_a_hard_link_to_anothers_file_is_not_stored(bench: Bench) -> None:
    secret = bench.root / "secret"
    secret.write_text("secret")
    running = asyncio.create_task(
        bench.run("echo go; while [ ! -e hard ]; do sleep 0.02; done", output_paths=["hard"])
    )
    await asyncio.sleep(0)
    await asyncio.wait_for(bench.output.came.wait(), 60)
    os.link(secret, bench.root / f"work/attempts/{bench.attempt_id}/workspace/hard")
    result = await running
    assert list(bench.outputs.iterdir()) == []
    assert "another user" in result.unkept[0]


AGENT_PROGRAM = """
import asyncio, sys, tempfile
from pathlib import Path
from agent.engines.host import HostEngine
from agent.engines.protocol import StepRequest

class Output:
    def write(self, stream, data):
        print(data.decode(), end="", flush=True)

async def main():
    root = Path(sys.argv[1])
    await HostEngine(data_dir=root, work_dir=root / "work").run(
        StepRequest(attempt_id=sys.argv[3], step_name="x", image=None, script=sys.argv[2], env={},
                    timeout_seconds=100, outputs=root, scratch=root), Output())

asyncio.run(main())
"""


async def test_kill_9_of_the_agent_takes_the_script_along(bench: Bench) -> None:
    script = "setsid sleep 1000 & echo $!; trap '' TERM; echo $$; sleep 1000"
    agent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", AGENT_PROGRAM, str(bench.root), script, bench.attempt_id),
        stdout=subprocess.PIPE,
    )
    assert agent.stdout is not None
    pids = [int(await asyncio.wait_for(agent.stdout.readline(), 60)) for _ in range(2)]
    agent.send_signal(signal.SIGKILL)
    await agent.wait()
    for pid in pids:
        assert await gone(pid, within_seconds=30)
    await bench.engine.reap(bench.attempt_id)
    assert bench.leftovers() == []


async def test_reap_ends_what_outlived_even_the_supervisor(bench: Bench) -> None:
    orphan = await asyncio.create_subprocess_exec(
        "sleep", "1000", env={"PUSHROD_HOST_ATTEMPT": bench.attempt_id}
    )
    other = await asyncio.create_subprocess_exec(
        "sleep", "1000", env={"PUSHROD_HOST_ATTEMPT": bench.attempt_id + "2"}
    )
    await bench.engine.reap(bench.attempt_id)
    assert await asyncio.wait_for(orphan.wait(), 60) == -signal.SIGKILL
    assert other.returncode is None
    other.kill()
    await other.wait()
