"""Containers of ours that run on this machine without an agent."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from agent.engines.buildkit.step_graph import WRAPPER

GONE_SECONDS = 5.0


def kill_containers(attempt_id: str) -> None:
    """Kill the attempt's containers, and wait until they are gone. Blocking.

    A container ends as a whole with its first process, which is our wrapper.
    """
    deadline = time.monotonic() + GONE_SECONDS
    while time.monotonic() < deadline:
        found = list(_first_processes(attempt_id))
        if not found:
            return
        for process in found:
            _kill(process)
        time.sleep(0.05)


def instruction_mark(attempt_id: str) -> str:
    """A host that is never looked up, by which processes of a Dockerfile are known.

    It is in their NO_PROXY: the one variable that can be given to instructions without a trace in
    the image, and without being a reason to run them again.
    """
    return f"{attempt_id.lower()}.pushrod.invalid"


def kill_instructions(attempt_id: str) -> bool:
    """Kill what runs here of the attempt's Dockerfile; whether there was any. Blocking."""
    mark = f"NO_PROXY={instruction_mark(attempt_id)}".encode()
    found = [process for process in _processes() if mark in _environment(process)]
    for process in found:
        _kill(process)
    return bool(found)


def _processes() -> Iterator[int]:
    return (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


def _environment(process: int) -> list[bytes]:
    try:
        return Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
    except OSError:  # gone meanwhile, or another user's
        return []


def _kill(process: int) -> None:
    try:
        os.kill(process, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def _first_processes(attempt_id: str) -> Iterator[int]:
    mark = b"PUSHROD_ATTEMPT_ID=" + attempt_id.encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            arguments = (entry / "cmdline").read_bytes().split(b"\0")
            if WRAPPER.encode() in arguments and mark in (entry / "environ").read_bytes().split(
                b"\0"
            ):
                yield int(entry.name)
        except OSError:  # gone meanwhile, or another user's
            continue
