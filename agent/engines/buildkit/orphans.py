"""Containers of ours that run on this machine without an agent."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from agent.engines.buildkit.step_graph import WRAPPER

GONE_SECONDS = 5.0
OWN_COMMAND = "PUSHROD_OWN_COMMAND=1"
"""The variable of a program that is its image's own."""


def kill_containers(attempt_id: str) -> None:
    """Kill the attempt's containers, and wait until they are gone. Blocking.

    A container ends as a whole with its first process, which is our wrapper, or that of an image's
    own program: all of a program's processes have the mark.
    """
    deadline = time.monotonic() + GONE_SECONDS
    while time.monotonic() < deadline:
        found = list(_first_processes(attempt_id))
        if not found:
            return
        for process in found:
            _kill(process)
        time.sleep(0.05)


def _kill(process: int) -> None:
    try:
        os.kill(process, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def _first_processes(attempt_id: str) -> Iterator[int]:
    mark = b"PUSHROD_ATTEMPT_ID=" + attempt_id.encode()
    own_command = OWN_COMMAND.encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            arguments = (entry / "cmdline").read_bytes().split(b"\0")
            variables = (entry / "environ").read_bytes().split(b"\0")
            ours = WRAPPER.encode() in arguments or own_command in variables
            if ours and mark in variables:
                yield int(entry.name)
        except OSError:  # gone meanwhile, or another user's
            continue
