"""Starts that can't work: one sentence that says why, before anything is called ready."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from coordinator.storage.migrate import HEAD, migrate
from tests.e2e.nursery import fork_pushrod

UP = ["up", "--engine", "host", "--listen", "127.0.0.1:0"]
COORDINATOR = ["coordinator", "--listen", "127.0.0.1:0"]
MOMENTS = {
    signal.SIGINT: [n * 0.09 for n in range(13)],
    signal.SIGTERM: [n * 0.27 for n in range(5)],
}
"""From the first imports on, towards a coordinator that serves. While we import, SIGTERM is the
kernel's to act on, and SIGINT may be Python's."""
LATER_MOMENTS = [n * 0.04 for n in range(8)]
"""From the last import to a coordinator that serves, which on a busy machine no moment from the
first import on would reach."""

EACH = pytest.mark.parametrize("command", [UP, COORDINATOR], ids=["up", "coordinator"])
SIGNALS = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["TERM", "INT"])


def start(data: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "pushrod", *words, "--data", str(data)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "HOME": str(data)},
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    output, errors = process.communicate(timeout=60)
    return process.returncode, output, errors


def wait_for_the_command(process: subprocess.Popen[str]) -> None:
    """Until Python has come to our first line, which is when it stops to catch SIGINT. It ignores
    SIGPIPE a few microseconds before it begins to catch it: so two looks have to agree."""
    agreed = 0
    while agreed < 2:
        assert process.poll() is None
        ignored, caught = (of_signals(process.pid, kind) for kind in ("SigIgn", "SigCgt"))
        has_come = signal.SIGPIPE in ignored and signal.SIGINT not in caught
        agreed = agreed + 1 if has_come else 0
        time.sleep(0.0005)


def of_signals(pid: int, kind: str) -> set[int]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    bits = int(next(line for line in lines if line.startswith(f"{kind}:")).split()[1], 16)
    return {number for number in range(1, 65) if bits & 1 << (number - 1)}


def a_database(data: Path) -> Path:
    data.mkdir(mode=0o700)
    migrate(data / "pushrod.db")
    return data / "pushrod.db"


@EACH
def test_a_database_of_a_newer_version_is_told_in_a_sentence(
    command: list[str], tmp_path: Path
) -> None:
    path = a_database(tmp_path / "data")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '0099'")
    code, output, errors = ended(start(path.parent, *command))
    assert (code, output) == (1, "")
    assert f"is of a newer pushrod (schema 0099, this one knows {HEAD})" in errors
    assert "Traceback" not in errors


@EACH
def test_a_damaged_database_is_told_in_a_sentence(command: list[str], tmp_path: Path) -> None:
    path = a_database(tmp_path / "data")
    with path.open("r+b") as file:
        for page in (3, 9, 20):
            file.seek(page * 4096)
            file.write(os.urandom(4096))
    code, output, errors = ended(start(path.parent, *command))
    assert (code, output) == (1, "")
    assert "is damaged (" in errors
    assert "restore the last copy" in errors
    assert "Traceback" not in errors


def test_a_key_that_was_cut_off_is_told_in_a_sentence(tmp_path: Path) -> None:
    path = a_database(tmp_path / "data")
    (path.parent / "secret-key").write_bytes(b"")
    code, output, errors = ended(start(path.parent, *COORDINATOR))
    assert (code, output) == (1, "")
    assert "secret-key holds 0 bytes, 32 are needed: restore it" in errors
    assert "Traceback" not in errors


@SIGNALS
@EACH
def test_a_signal_at_any_moment_of_the_start_ends_it_without_a_traceback(
    command: list[str], number: signal.Signals, tmp_path: Path
) -> None:
    for moment in MOMENTS[number]:
        process = start(tmp_path / f"data{moment:.2f}", *command)
        wait_for_the_command(process)
        time.sleep(moment)
        process.send_signal(number)
        code, _, errors = ended(process)
        assert "Traceback" not in errors, (moment, errors)
        assert code in (0, -number, 128 + number), (moment, code, errors)


@SIGNALS
@EACH
def test_a_signal_after_the_imports_ends_a_start_without_a_traceback(
    command: list[str], number: signal.Signals, tmp_path: Path
) -> None:
    for moment in LATER_MOMENTS:
        data, log = tmp_path / f"data{moment:.2f}", tmp_path / f"log{moment:.2f}"
        with log.open("wb") as output:
            words = [*command, "--data", str(data)]
            process = fork_pushrod(words, {**os.environ, "HOME": str(data)}, output.fileno())
        time.sleep(moment)
        process.send_signal(number)
        code, said = process.wait(60.0), log.read_text()
        assert "Traceback" not in said, (moment, said)
        assert code in (0, -number, 128 + number), (moment, code, said)


def test_no_tokens_and_steps_on_this_machine_need_a_word_of_their_own(tmp_path: Path) -> None:
    code, output, errors = ended(start(tmp_path / "data", *UP, "--auth", "none"))
    assert (code, output) == (1, "")
    assert "--trust-steps" in errors
    process = start(tmp_path / "data", *UP, "--auth", "none", "--trust-steps")
    assert process.stdout is not None
    assert process.stdout.readline().startswith("ready http://127.0.0.1:")
    process.send_signal(signal.SIGTERM)
    assert ended(process)[0] == 0


def test_what_the_coordinator_keeps_is_its_own_whatever_the_umask(tmp_path: Path) -> None:
    data = tmp_path / "data"
    before = os.umask(0)
    try:
        process = start(data, *COORDINATOR)
        assert process.stdout is not None
        process.stdout.readline()
    finally:
        os.umask(before)
    modes = {file: stat.S_IMODE(file.stat().st_mode) for file in data.rglob("*")}
    process.send_signal(signal.SIGTERM)
    assert ended(process)[0] == 0
    assert {file.name for file in modes} >= {"pushrod.db", "pushrod.db-wal", "admin-token"}
    assert not {file: mode for file, mode in modes.items() if mode & 0o077}
