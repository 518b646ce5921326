"""The mark in the environment of an attempt's processes, by which what is left of it is found."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

ATTEMPT_VARIABLE = "PUSHROD_HOST_ATTEMPT"
"""In the environment of every process of an attempt, so that `reap` finds them."""
REAP_SECONDS = 10.0


class LeftoverProcessesError(Exception):
    """Some process of an attempt could not be ended."""


def end_marked(attempt_id: str, grace_seconds: float) -> None:
    """End every process that carries the attempt's mark, after its supervisor had the grace."""
    kill_at = time.monotonic() + grace_seconds
    give_up_at = kill_at + REAP_SECONDS
    while marked := _marked_processes(attempt_id):
        if time.monotonic() > give_up_at:
            raise LeftoverProcessesError(
                f"processes {sorted(marked)} of attempt {attempt_id} can't be ended"
            )
        if time.monotonic() > kill_at:
            for pid in marked:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def _marked_processes(attempt_id: str) -> set[int]:
    mark = f"{ATTEMPT_VARIABLE}={attempt_id}\0".encode()
    found = set()
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                environment = Path("/proc", name, "environ").read_bytes()
            except OSError:
                continue
            if (b"\0" + environment).find(b"\0" + mark) >= 0:
                found.add(int(name))
    return found
