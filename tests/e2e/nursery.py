"""Starts `pushrod coordinator` and `pushrod agent` for tests without starting an interpreter.

Each such start imports 1,300 modules, which takes a coordinator most of two seconds of processor
time, and tests start hundreds. So one process (`python -m tests.e2e.nursery SOCKET_FD`) imports
them once and forks. What it forks is a child of whoever runs the tests, is told its words, folder,
variables and files, and calls what `python -m pushrod` calls.

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
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

IMPORTED = (
    "agent.worker",
    "coordinator.app",
    "coordinator.settings_file",
    "pushrod.cli",
    "pushrod.client",
    "pushrod.commands.agent",
    "pushrod.commands.coordinator",
    "pushrod.otlp",
    "pushrod.presentation",
    "pushrod.serving",
    "pushrod.systemd",
)
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


def fork_pushrod(words: Sequence[str], environment: Mapping[str, str], output: int) -> Forked:
    """`pushrod` with these words; the descriptor `output` is its stdout and stderr."""
    request = {"words": list(words), "folder": os.getcwd(), "environment": dict(environment)}
    with _asking:  # or of two threads each takes the other's answer
        nursery = _nursery()
        socket.send_fds(nursery, [json.dumps(request).encode()], [output])
        answer = nursery.recv(64)
    if not answer:
        raise RuntimeError("the nursery of pushrod's processes has ended")
    return Forked(int(answer))


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
    assert threading.active_count() == 1, threading.enumerate()
    gc.freeze()
    asked = socket.socket(fileno=int(sys.argv[1]))
    while True:
        message, descriptors, _, _ = socket.recv_fds(asked, MOST_BYTES, 1)
        if not message:
            return
        [output] = descriptors
        pid = _fork()
        if pid == 0:
            asked.close()
            _become(json.loads(message), output)
            return
        os.close(output)
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


def _become(request: Mapping[str, object], output: int) -> None:
    """Ends as pushrod does, by SystemExit."""
    from pushrod.cli import main as pushrod

    for standard in (1, 2):
        os.dup2(output, standard)
    os.close(output)
    os.chdir(str(request["folder"]))
    os.environ.clear()
    os.environ.update(request["environment"])  # type: ignore[call-overload]
    sys.argv = ["pushrod", *request["words"]]  # type: ignore[misc]
    pushrod()


if __name__ == "__main__":
    main()
