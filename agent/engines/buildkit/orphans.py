"""Containers of ours that run on this machine without an agent."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from agent.engines.buildkit.machine import processes_of
from agent.engines.buildkit.wrapper import IN_BASH, IN_SH

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


def wrapper_of(attempt_id: str) -> int | None:
    """The first process of the attempt's step, if it runs on this machine."""
    return next((one for one in _first_processes(attempt_id) if _is_wrapper(one)), None)


def program_of(attempt_id: str) -> int | None:
    """The first process of the image's own command, if it runs on this machine."""
    found = (one for one in _first_processes(attempt_id) if not _is_wrapper(one))
    return next(found, None)


def kill_services(prefix: str) -> int:
    """Kill the containers whose ids begin so; how many processes there were. Blocking."""
    found = list(processes_of(prefix))
    for process in found:
        _kill(process)
    return len(found)


def _first_processes(attempt_id: str) -> Iterator[int]:
    mark, own_command = f"PUSHROD_ATTEMPT_ID={attempt_id}".encode(), OWN_COMMAND.encode()
    for process in _processes():
        variables = _environment(process)
        if mark in variables and (own_command in variables or _is_wrapper(process)):
            yield process


def _is_wrapper(process: int) -> bool:
    try:
        words = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
    except OSError:  # gone meanwhile
        return False
    return not {IN_BASH.encode(), IN_SH.encode()}.isdisjoint(words)
