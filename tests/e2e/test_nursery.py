"""What the nursery forks behaves as what a user starts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.forked_program import forking_program
from tests.e2e.nursery import fork_pushrod, run_pushrod
from tests.e2e.processes import PUSHROD, Pushrod, running

SECONDS = 60.0
FORKS_ONE_AND_IS_KILLED = """
import os, signal
from tests.e2e.forked_program import forking_program
from tests.e2e.nursery import fork_pushrod, run_pushrod
with open(os.devnull, "wb") as output:
    fork_pushrod(["agent", "--no-such-option"], dict(os.environ), output.fileno()).wait(60)
os.kill(os.getpid(), signal.SIGKILL)
"""


STAYING = ["coordinator", "--listen", "127.0.0.1:0", "--data"]


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Path]:
    """For scripts; it is in a folder of its own."""
    path = tmp_path / "bin" / "pushrod"
    path.parent.mkdir()
    with forking_program(path):
        yield path


def environment(**more: str) -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith("PUSHROD_")} | more


def forked(words: list[str], variables: dict[str, str], log: Path) -> tuple[int, str]:
    with log.open("ab") as output:
        code = fork_pushrod(words, variables, output.fileno()).wait(SECONDS)
    return code, log.read_text()


def started(
    words: list[str], variables: dict[str, str], program: Sequence[str | Path] = PUSHROD
) -> tuple[int, str]:
    done = subprocess.run(
        [*program, *words],
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=SECONDS,
        text=True,
    )
    return done.returncode, done.stdout


ENDINGS = pytest.mark.parametrize(
    ("words", "says"),
    [
        (["coordinator", "--listen", "nowhere"], "nowhere"),
        (["coordinator", "--no-such-option"], "No such option"),
        (["agent", "--once", "--slots", "2"], "--once means"),
        (["agent", "--url", "http://127.0.0.1:1", "--token-file", "/nonexistent"], "nonexistent"),
        (["build", "list", "--url", "http://127.0.0.1:1"], "no token"),
        (["backup", "backups", "--data", "nowhere"], "nowhere"),
        (["migrate", "--data", "nowhere", "--objects", "there"], "nowhere"),
        (["run", "--engine", "host", "--param", "none"], "NAME=VALUE"),
    ],
)


@ENDINGS
def test_it_ends_with_the_words_and_the_code_of_one_that_is_started(
    words: list[str], says: str, tmp_path: Path
) -> None:
    variables = environment(HOME=str(tmp_path))
    code, output = started(words, variables)
    assert code != 0
    assert says in output
    assert forked(words, variables, tmp_path / "log") == (code, output)


def test_it_has_its_variables_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["coordinator", "--data", str(tmp_path / "data")]
    _, output = forked(words, environment(PUSHROD_LISTEN="said here"), tmp_path / "log")
    assert "said here" in output
    monkeypatch.setenv("PUSHROD_LISTEN", "not said")
    words += ["--listen", "nowhere"]
    assert "not said" not in forked(words, environment(), tmp_path / "another")[1]


def test_it_is_a_child_of_the_tests_and_hears_signals(tmp_path: Path) -> None:
    with running(tmp_path) as pushrod:
        status = Path(f"/proc/{pushrod.coordinator.pid}/status").read_text()
        assert f"PPid:\t{os.getpid()}\n" in status
        assert pushrod.agents["agent1"].stop() == 0
        assert pushrod.coordinator.stop() == 0


def test_a_killed_one_is_told_as_killed(tmp_path: Path) -> None:
    pushrod = Pushrod(tmp_path)
    pushrod.start_coordinator()
    os.kill(pushrod.coordinator.pid, signal.SIGKILL)
    assert pushrod.coordinator.stop() == -signal.SIGKILL


def test_the_nursery_ends_with_who_runs_the_tests_also_when_that_is_killed() -> None:
    killed = subprocess.run(
        [sys.executable, "-c", FORKS_ONE_AND_IS_KILLED],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=SECONDS,
        text=True,
    )
    # Its output is ours, and comes to its end only when nobody has it any more.
    assert (killed.returncode, killed.stdout) == (-signal.SIGKILL, "")


def test_of_many_that_are_asked_for_at_once_each_is_whose_asked(tmp_path: Path) -> None:
    """Told by what they print, and how they end."""

    def ask(number: int) -> tuple[int, str]:
        words = ["agent", "--help"] if number % 2 else ["agent", f"--no-such-option-{number}"]
        return forked(words, environment(), tmp_path / f"{number}.log")

    with ThreadPoolExecutor(8) as threads:
        for number, (code, said) in enumerate(threads.map(ask, range(24))):
            assert code == (0 if number % 2 else 2)
            assert ("Usage" if number % 2 else f"no-such-option-{number}") in said


def test_a_command_is_given_text_and_a_folder_and_tells_output_from_errors(tmp_path: Path) -> None:
    (tmp_path / "workflow.yml").write_text("name: ci\nsteps: []\n")
    words = ["validate", "workflow.yml"]
    variables = environment(HOME=str(tmp_path))
    real = subprocess.run(
        [*PUSHROD, *words], env=variables, cwd=tmp_path, capture_output=True, timeout=SECONDS
    )
    assert real.stdout or real.stderr
    done = run_pushrod(words, variables, folder=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (
        real.returncode,
        real.stdout,
        real.stderr,
    )
    with running(tmp_path / "pushrod", agents=0) as pushrod:
        pushrod.create_project()
        assert pushrod.command("secret", "set", "app", "WORD", given="a secret\n").returncode == 0
        assert "WORD" in pushrod.command("secret", "list", "app").stdout


@ENDINGS
def test_the_program_of_a_script_ends_so_too(
    words: list[str], says: str, program: Path, tmp_path: Path
) -> None:
    variables = environment(HOME=str(tmp_path))
    code, output = started(words, variables, [program])
    assert says in output
    assert forked(words, variables, tmp_path / "log") == (code, output)


def test_the_program_of_a_script_has_its_input_folder_and_variables(
    program: Path, tmp_path: Path
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "workflow.yml").write_text("name: ci\nsteps: []\n")
    lines = f"cd here; {program} validate workflow.yml 2>&1; echo $?; {program} secret set app A"
    real = lines.replace(str(program), " ".join(PUSHROD))
    with running(tmp_path / "pushrod", agents=0) as pushrod:
        pushrod.create_project()
        variables = environment(PUSHROD_URL=pushrod.api.url, PUSHROD_TOKEN=pushrod.api.token)
        said = [
            subprocess.run(
                ["bash", "-c", script],
                input="a secret\n",
                cwd=tmp_path,
                env=variables,
                capture_output=True,
                text=True,
                timeout=SECONDS,
            )
            for script in (real, lines)
        ]
        assert "A" in pushrod.command("secret", "list", "app").stdout
    assert [(done.returncode, done.stdout, done.stderr) for done in said[1:]] == [
        (said[0].returncode, said[0].stdout, said[0].stderr)
    ]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_signal_to_the_program_of_a_script_ends_what_it_began(
    number: signal.Signals, program: Path, tmp_path: Path
) -> None:
    process = subprocess.Popen([program, *STAYING, tmp_path / "data"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline().startswith(b"ready ")
    process.send_signal(number)
    # Its output comes to its end only when nobody has it any more.
    process.stdout.read()
    process.stdout.close()
    assert process.wait(SECONDS) == (-number if number == signal.SIGKILL else 0)
