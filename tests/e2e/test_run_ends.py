"""`pushrod run` that is refused, interrupted or killed: exit codes, and nothing is left."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.engines.work_folder import work_folder_for
from tests.e2e.conftest import ENGINES
from tests.e2e.processes import Repository
from tests.e2e.run_command import SECONDS, Place, place_of


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    if request.param == "host":
        return "host"
    return str(request.getfixturevalue("buildkit").address)


@pytest.fixture
def place(repository: Repository, tmp_path: Path, engine: str) -> Iterator[Place]:
    with place_of(repository, tmp_path, engine) as place:
        yield place


@pytest.fixture
def on_host(repository: Repository, tmp_path: Path) -> Iterator[Place]:
    with place_of(repository, tmp_path, "host") as place:
        yield place


LONG = """\
name: ci
on: {push: {}}
steps:
  - name: long
    image: IMAGE
    grace: 5s
    run: |
      trap 'echo asked; exit 3' TERM
      echo begun
      for i in $(seq 600); do sleep 0.1 || true; done
  - {name: last, image: IMAGE, dependsOn: [long], runOn: [cancelled], run: echo cleaned up}
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_ends_the_build_as_a_cancel_does(
    place: Place, image: str, number: signal.Signals, code: int
) -> None:
    place.workflow(LONG.replace("IMAGE", image))
    with place.begun() as run:
        run.wait_for("long | begun")
        run.send(number)
        assert run.ended() == code
    assert "long | asked" in run.text()
    assert "last | cleaned up" in run.text()
    assert "cancelled by Ctrl-C" in run.text()
    place.wait_until_nothing_is_left()


def test_a_second_interrupt_kills(place: Place, image: str) -> None:
    deaf = LONG.replace("echo asked; exit 3", "echo asked").replace("grace: 5s", "grace: 5m")
    place.workflow(deaf.replace("IMAGE", image))
    with place.begun() as run:
        run.wait_for("long | begun")
        run.send(signal.SIGINT)
        run.wait_for("long | asked")
        run.send(signal.SIGINT)
        assert run.ended() == 130
    assert "cleaned up" not in run.text()
    place.wait_until_nothing_is_left()


def test_a_killed_run_leaves_nothing(place: Place, image: str, marker: str) -> None:
    script = f"bash -c 'sleep 600; : {marker}'"
    place.workflow(
        "name: ci\nsteps:\n"
        f"  - {{name: long, image: '{image}', cacheDirs: [~/.c], run: \"echo begun; {script}\"}}\n"
    )
    with place.begun() as run:
        run.wait_for("long | begun")
        wait_until(lambda: has_process(marker))
        run.send(signal.SIGKILL)
        run.ended()
    place.wait_until_nothing_is_left()
    wait_until(lambda: not has_process(marker))
    work = work_folder_for(place.caches / "pushrod/run")
    assert not list(work.glob("attempts/*"))


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def has_process(word: str) -> bool:
    """Whether a command line has it."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if word.encode() in (entry / "cmdline").read_bytes():
                    return True
            except OSError:
                continue
    return False


@pytest.fixture
def marker(tmp_path: Path) -> str:
    return f"run-{os.getpid()}-{abs(hash(tmp_path))}"


MOMENTS = [n * 0.25 for n in range(12)]
"""From the first imports to a step that runs."""


@pytest.mark.parametrize("moment", MOMENTS)
def test_an_interrupt_at_any_moment_leaves_nothing(on_host: Place, moment: float) -> None:
    on_host.workflow(LONG.replace("IMAGE", "any"))
    with on_host.begun(from_the_start=True) as run:
        time.sleep(moment)
        run.send(signal.SIGINT)
        assert run.ended() in (130, -signal.SIGINT), run.text()
    # Before our first line is run, which hands the signal to the kernel, Python says where it was.
    ours = r'File ".*/(?:(?:coordinator|agent)/|pushrod/(?!__init__|__main__))'
    assert not re.search(ours, run.text()), run.text()
    on_host.wait_until_nothing_is_left()


@pytest.mark.parametrize("moment", MOMENTS[::3])
def test_a_kill_at_any_moment_leaves_nothing(on_host: Place, moment: float) -> None:
    on_host.workflow(LONG.replace("IMAGE", "any"))
    with on_host.begun(from_the_start=True) as run:
        time.sleep(moment)
        run.send(signal.SIGKILL)
        run.ended()
    on_host.wait_until_nothing_is_left()


def test_no_port_is_opened(on_host: Place) -> None:
    on_host.workflow(LONG.replace("IMAGE", "any"))
    with on_host.begun() as run:
        run.wait_for("long | begun")
        shown = subprocess.run(["ss", "-Htlnp"], capture_output=True, text=True)
        assert shown.returncode == 0
        assert f"pid={run.process.pid}," not in shown.stdout
        [folder] = on_host.temporary.glob("pushrod-run-*")
        assert folder.stat().st_mode & 0o077 == 0


QUICK = """\
name: ci
on: {push: {}}
steps:
  - {name: lint, image: any, run: echo linted}
  - {name: unit, image: any, dependsOn: [lint], run: exit EXIT}
"""


@pytest.mark.parametrize(("exits", "code"), [("0", 0), ("7", 1)])
def test_the_exit_code_says_how_the_build_ended(on_host: Place, exits: str, code: int) -> None:
    on_host.workflow(QUICK.replace("EXIT", exits))
    assert on_host.run().returncode == code


@pytest.mark.parametrize(
    ("workflow", "words", "said"),
    [
        (QUICK, ("--step", "lnit"), "did you mean "),
        (QUICK, ("nightly",), "no workflow 'nightly'; there is ci"),
        (QUICK, ("--param", "a=b"), "params.a"),
        (QUICK, ("--matrix", "a"), "must look like NAME=VALUE"),
        (QUICK, ("--output", "."), "is no empty folder"),
        (QUICK, ("--engine", "docker"), "there is no engine 'docker'"),
        (QUICK, ("--engine", "unix:///nowhere.sock"), "`host`, which runs scripts as plain"),
        (QUICK.replace("dependsOn", "dependOn"), (), ".pushrod.yml:5:"),
        (QUICK.replace("image: any,", "image: any, secrets: [KEY],", 1), (), ".pushrod.yml:4:"),
        (None, (), "no workflow here"),
    ],
)
def test_what_can_not_begin_says_why_and_ends_with_2(
    on_host: Place, workflow: str | None, words: tuple[str, ...], said: str
) -> None:
    if workflow is not None:
        on_host.workflow(workflow)
    ran = on_host.run(*words)
    assert ran.returncode == 2, ran.stderr
    assert said in ran.stderr
    assert "Traceback" not in ran.stderr
    on_host.wait_until_nothing_is_left()


def test_the_steps_are_listed_and_none_is_run(on_host: Place) -> None:
    on_host.workflow(QUICK.replace("dependsOn", "when: 'branch == \"x\"', dependsOn"))
    ran = on_host.run("--list")
    assert (ran.returncode, ran.stdout.splitlines()[1:]) == (
        0,
        ["lint\tyes\t\tany", "unit\tskipped: condition false\tlint\tany"],
    )


def test_no_root_is_needed_on_the_host(on_host: Place) -> None:
    """In a namespace where we are nobody, with no capability."""
    on_host.workflow(QUICK.replace("EXIT", "0"))
    ran = subprocess.run(
        ["unshare", "--user", *on_host.command()],
        cwd=on_host.repository.path,
        env=on_host.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert ran.returncode == 0, ran.stderr
    assert "lint | linted" in ran.stdout
    on_host.wait_until_nothing_is_left()


def test_two_runs_at_once_are_no_trouble_to_each_other(on_host: Place) -> None:
    on_host.workflow(LONG.replace("IMAGE", "any"))
    with on_host.begun() as run:
        run.wait_for("long | begun")
        other = on_host.run("--list")
        assert other.returncode == 0, other.stderr
        run.send(signal.SIGINT)
        assert run.ended() == 130
    assert "long | asked" in run.text()


def at_a_terminal(
    place: Place, *words: str, typed: bytes = b"", **variables: str
) -> tuple[int, bytes]:
    """The exit code and all that a terminal of 60 columns got; what is `typed` answers `[y/N]`."""
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
    process = subprocess.Popen(
        place.command(*words),
        cwd=place.repository.path,
        env={**place.environment, "TERM": "xterm", **variables},
        stdin=child,
        stdout=child,
        stderr=child,
        start_new_session=True,
    )
    os.close(child)
    got, deadline = b"", time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        if select.select([parent], [], [], 0.1)[0]:
            try:
                piece = os.read(parent, 65536)
            except OSError:
                break
            got += piece
            if typed and b"[y/N] " in got:
                os.write(parent, typed)
                typed = b""
    os.close(parent)
    return process.wait(SECONDS), got


SLOW = QUICK.replace("echo linted", "echo linted; sleep 1.5").replace("EXIT", "0")


def test_a_terminal_has_a_line_that_says_what_runs(on_host: Place) -> None:
    on_host.workflow(SLOW)
    code, got = at_a_terminal(on_host)
    assert code == 0
    assert b"lint" in got
    assert b"0 of 2 done" in got
    assert got.rstrip().endswith(b" s")
    after_the_last_line = got.rpartition(b"\r\x1b[2K")[2]
    assert b" done" not in after_the_last_line


def test_no_colour_is_shown_where_none_is_wanted(on_host: Place) -> None:
    on_host.workflow(SLOW)
    _, got = at_a_terminal(on_host, NO_COLOR="1")
    assert b"\x1b[2m" not in got
    assert b"\x1b[3" not in got


def test_a_terminal_that_can_not_take_lines_away_gets_plain_ones(on_host: Place) -> None:
    on_host.workflow(SLOW)
    _, got = at_a_terminal(on_host, TERM="dumb")
    assert b"\x1b" not in got
    assert b"lint | linted" in got


GATE = """\
name: ci
on: {push: {}}
steps:
  - {name: release, approve: {message: "Release?"}}
  - {name: deploy, image: any, dependsOn: [release], run: echo deployed}
"""


@pytest.mark.parametrize(("typed", "code"), [(b"y\n", 0), (b"n\n", 1), (b"\n", 1)])
def test_who_sits_at_a_terminal_is_asked(on_host: Place, typed: bytes, code: int) -> None:
    on_host.workflow(GATE)
    ended, got = at_a_terminal(on_host, typed=typed, NO_COLOR="1")
    assert ended == code, got
    assert b"approve release (Release?)? [y/N]" in got
    assert (b"| deployed" in got) is (code == 0)


def test_completion_offers_its_options() -> None:
    offered = subprocess.run(
        [sys.executable, "-m", "pushrod"],
        env={
            **os.environ,
            "_PUSHROD_COMPLETE": "bash_complete",
            "COMP_WORDS": "pushrod run --s",
            "COMP_CWORD": "2",
        },
        capture_output=True,
        text=True,
    )
    assert "--step" in offered.stdout
    assert "--secrets-file" in offered.stdout
