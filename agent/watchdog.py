"""Kills this agent when it is stopped beyond a lease that it holds.

For engines that end an attempt only when their client goes: a stopped agent (SIGSTOP, a debugger)
keeps its connection, and its script would go on beside the next attempt. `python watchdog.py` is a
process of its own that looks at one number in shared memory: when to kill. It ends with the agent.
"""

from __future__ import annotations

import mmap
import os
import select
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from signal import SIGKILL, pidfd_send_signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.lease import Term

MOMENT = struct.Struct("=d")
NEVER = float("inf")
LONGEST_TICK_SECONDS = 1.0


class Watchdog:
    """Started by the first term that it guards, and anew if it has died."""

    def __init__(self) -> None:
        self._number = os.memfd_create("pushrod-watchdog")
        os.ftruncate(self._number, MOMENT.size)
        self._kill_at = mmap.mmap(self._number, MOMENT.size)
        self._terms: list[Term] = []
        self._process: subprocess.Popen[bytes] | None = None

    @contextmanager
    def guarding(self, term: Term) -> Iterator[None]:
        """Within the block this process is killed unless it leaves it soon after the term's end."""
        self._terms.append(term)
        unfollow = term.follow(lambda _: self._write())
        self._write()
        self._ensure_running()
        try:
            yield
        finally:
            unfollow()
            self._terms.remove(term)
            self._write()

    def close(self) -> None:
        """Blocking, for a moment."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._kill_at.close()
        os.close(self._number)

    def _write(self) -> None:
        # Half of the margin is the agent's, to end the script itself; half is the engine's.
        ends = [term.ends_at + term.margin_seconds / 2 for term in self._terms]
        MOMENT.pack_into(self._kill_at, 0, min(ends, default=NEVER))

    def _ensure_running(self) -> None:
        if self._process is not None and self._process.poll() is None:
            return
        victim = os.pidfd_open(os.getpid())
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-B", __file__, str(self._number), str(victim)],
                pass_fds=[self._number, victim],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-Z and Ctrl-C at a terminal are not for it
                env={},
            )
        finally:
            os.close(victim)


def watch(kill_at: mmap.mmap, victim: int) -> None:
    """Return when the victim is gone, which may be our doing."""
    poll = select.poll()
    poll.register(victim, select.POLLIN)
    while not poll.poll(_tick_seconds(kill_at) * 1000):
        if _seconds_left(kill_at) <= 0:
            sys.stderr.write("pushrod agent: stopped beyond its lease: killed by its watchdog\n")
            pidfd_send_signal(victim, SIGKILL)
            return


def _tick_seconds(kill_at: mmap.mmap) -> float:
    return max(0.01, min(LONGEST_TICK_SECONDS, _seconds_left(kill_at)))


def _seconds_left(kill_at: mmap.mmap) -> float:
    moment: float = MOMENT.unpack_from(kill_at, 0)[0]
    return moment - time.clock_gettime(time.CLOCK_BOOTTIME)


if __name__ == "__main__":
    watch(mmap.mmap(int(sys.argv[1]), MOMENT.size), int(sys.argv[2]))
