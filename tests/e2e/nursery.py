"""Starts `pushrod coordinator`, `pushrod agent` and what people type for tests, without starting
an interpreter.

Each start imports up to 1,300 modules, which takes a coordinator or `pushrod run` most of two
seconds of processor time and the shortest command a third of one, and tests start hundreds. So one
process (`python -m tests.e2e.nursery SOCKET_FD`) imports them once and forks. What it forks is a
child of whoever runs the tests, is told its words, folder, variables and files, and calls what
`python -m pushrod` calls.

/proc/PID/cmdline and /proc/PID/environ of what it forked are the nursery's own.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import importlib
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

IMPORTED = (
    "agent.opening",
    "agent.worker",
    "coordinator.app",
    "coordinator.backup.making",
    "coordinator.backup.restoring",
    "coordinator.moving.moving",
    "coordinator.settings_file",
    "pushrod.cli",
    "pushrod.client",
    "pushrod.local.chosen",
    "pushrod.local.coordinator",
    "pushrod.local.listing",
    "pushrod.local.run",
    "pushrod.local.sending",
    "pushrod.otlp",
    "pushrod.presentation",
    "pushrod.serving",
    "pushrod.systemd",
)
"""Besides the commands' own modules."""
MOST_BYTES = 1 << 17
"""Of a request, with words and variables."""
CLONE = {"x86_64": 56, "aarch64": 220}
"""Numbers of the system call, which the C library wraps for threads alone."""
CLONE_PARENT = 0x8000
PAUSE_SECONDS = 0.005
_asking = threading.Lock()


@dataclass(slots=True)
class Forked:
    """What is used of a subprocess.Popen."""

    pid: int
    returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float) -> int:
        """Raises subprocess.TimeoutExpired."""
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(["pushrod"], timeout)
            time.sleep(PAUSE_SECONDS)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def fork_pushrod(
    words: Sequence[str],
    environment: Mapping[str, str],
    output: int,
    errors: int | None = None,
    given: int | None = None,
    folder: Path | None = None,
) -> Forked:
    """`pushrod` with these words; the descriptor `output` is its stdout, and its stderr unless
    that has one of its own; `given` is its stdin. It begins in this folder, or in ours."""
    request = {
        "words": list(words),
        "folder": str(folder or os.getcwd()),
        "environment": dict(environment),
    }
    descriptors = [output, output if errors is None else errors]
    if given is not None:
        descriptors.append(given)
    with _asking:  # or of two threads each takes the other's answer
        nursery = _nursery()
        socket.send_fds(nursery, [json.dumps(request).encode()], descriptors)
        answer = nursery.recv(64)
    if not answer:
        raise RuntimeError("the nursery of pushrod's processes has ended")
    return Forked(int(answer))


def run_pushrod(
    words: Sequence[str],
    environment: Mapping[str, str],
    *,
    given: str = "",
    folder: Path | None = None,
    seconds: float = 120.0,
) -> subprocess.CompletedProcess[bytes]:
    """As subprocess.run with `capture_output`: until it has ended, and whoever has its output.

    Raises subprocess.TimeoutExpired.
    """
    with ThreadPoolExecutor(2) as threads, tempfile.TemporaryFile() as stdin:
        stdin.write(given.encode())
        stdin.seek(0)
        (output, out), (errors, err) = os.pipe(), os.pipe()
        reading = [threads.submit(_all_of, end) for end in (output, errors)]
        try:
            process = fork_pushrod(words, environment, out, err, stdin.fileno(), folder)
        finally:
            os.close(out)
            os.close(err)
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(seconds)
            raise
        said = [one.result() for one in reading]
    return subprocess.CompletedProcess(["pushrod", *words], code, *said)


def run_pushrod_for_text(
    words: Sequence[str], environment: Mapping[str, str], **options: Any
) -> subprocess.CompletedProcess[str]:
    """Of UTF-8. `options` are those of `run_pushrod`."""
    done = run_pushrod(words, environment, **options)
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
    )


def _all_of(descriptor: int) -> bytes:
    with open(descriptor, "rb") as file:
        return file.read()


@cache
def _nursery() -> socket.socket:
    """It sees the end of this socket, which no other process has, also if we are killed."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with its:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.nursery", str(its.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=(its.fileno(),),
        )

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


# --- in the nursery


def main() -> None:
    # As `python -m pushrod` has it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    for name in IMPORTED:
        importlib.import_module(name)
    from pushrod.cli import COMMANDS

    for place, _ in COMMANDS.values():
        importlib.import_module(place.partition(":")[0])
    assert threading.active_count() == 1, threading.enumerate()
    gc.freeze()
    asked = socket.socket(fileno=int(sys.argv[1]))
    while True:
        message, descriptors, _, _ = socket.recv_fds(asked, MOST_BYTES, 3)
        if not message:
            return
        pid = _fork()
        if pid == 0:
            asked.close()
            _become(json.loads(message), descriptors)
            return
        for descriptor in descriptors:
            os.close(descriptor)
        asked.send(str(pid).encode())


def _fork() -> int:
    """As os.fork, but for whose child it is: our parent's, who can wait for it."""
    call = ctypes.PyDLL(None).syscall
    python = ctypes.pythonapi
    python.PyOS_BeforeFork()
    pid = int(call(CLONE[platform.machine()], CLONE_PARENT | signal.SIGCHLD, 0, 0, 0, 0))
    if pid == 0:
        python.PyOS_AfterFork_Child()
        return 0
    python.PyOS_AfterFork_Parent()
    if pid < 0:
        raise OSError("the nursery can't fork")
    return pid


def _become(request: Mapping[str, object], descriptors: Sequence[int]) -> None:
    """Ends as pushrod does, by SystemExit. `descriptors`: see `fork_pushrod`."""
    from pushrod.cli import main as pushrod

    for descriptor, standard in zip(descriptors, (1, 2, 0), strict=False):
        os.dup2(descriptor, standard)
        os.close(descriptor)
    os.chdir(str(request["folder"]))
    os.environ.clear()
    os.environ.update(request["environment"])  # type: ignore[call-overload]
    sys.argv = ["pushrod", *request["words"]]  # type: ignore[misc]
    pushrod()


if __name__ == "__main__":
    main()
