"""Processes known by pid *and* start time, so that no stranger with a reused pid is signalled."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessIdentity:
    """One process of one boot: `start_ticks` is field 22 of /proc/PID/stat."""

    pid: int
    start_ticks: int
    boot_id: str

    @property
    def uptime_seconds(self) -> float:
        seconds_since_boot = float(Path("/proc/uptime").read_text().split()[0])
        return max(0.0, seconds_since_boot - self.start_ticks / os.sysconf("SC_CLK_TCK"))


def identify(pid: int) -> ProcessIdentity | None:
    """The identity of a living process; None if there is none or it is a zombie."""
    stat = _read_stat(pid)
    if stat is None or stat.state in "ZX":
        return None
    return ProcessIdentity(pid=pid, start_ticks=stat.start_ticks, boot_id=_boot_id())


def is_alive(process: ProcessIdentity) -> bool:
    """Whether exactly this process still runs. Reaps it if it was a child of ours."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(process.pid, os.WNOHANG)
    return identify(process.pid) == process


def send_signal(process: ProcessIdentity, number: signal.Signals) -> None:
    """Signal exactly this process; nothing happens if it has ended."""
    try:
        handle = os.pidfd_open(process.pid)
    except OSError:
        return
    try:
        # The handle pins the process: if the identity is right now, the signal can't go astray.
        if is_alive(process):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, number)
    finally:
        os.close(handle)


async def wait_until_gone(process: ProcessIdentity, *, timeout_seconds: float) -> bool:
    """Whether the process ended within the time."""
    deadline = asyncio.get_running_loop().time() + timeout_seconds
    while is_alive(process):
        if asyncio.get_running_loop().time() >= deadline:
            return False
        await asyncio.sleep(POLL_SECONDS)
    return True


def children_of(pid: int) -> list[int]:
    """The living children, from /proc (the `children` file there isn't in every kernel)."""
    pids = (int(entry) for entry in os.listdir("/proc") if entry.isdigit())
    stats = ((child, _read_stat(child)) for child in pids)
    return [child for child, stat in stats if stat and stat.parent == pid and stat.state != "Z"]


def command_name(pid: int) -> str:
    """The kernel's short name of the process; empty if it has ended."""
    stat = _read_stat(pid)
    return stat.name if stat else ""


def spawn_detached(
    argv: Sequence[str],
    *,
    environment: Mapping[str, str],
    output: Path,
    pass_descriptors: Mapping[int, int] | None = None,
) -> int:
    """Start a program in a session of its own that survives us; its pid.

    Not subprocess.Popen, which warns about a child that outlives it. `pass_descriptors` maps
    the child's descriptor numbers to ours; all else but the three standard ones is closed.
    """
    actions: list[tuple[int, ...] | tuple[int, int, str, int, int]] = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(output), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    wanted = pass_descriptors or {}
    actions += [(os.POSIX_SPAWN_DUP2, ours, theirs) for theirs, ours in wanted.items()]
    return os.posix_spawn(argv[0], list(argv), dict(environment), file_actions=actions, setsid=True)


@dataclass(frozen=True, slots=True)
class _Stat:
    name: str
    state: str
    parent: int
    start_ticks: int


def _read_stat(pid: int) -> _Stat | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    return _parse_stat(text)


def _parse_stat(text: str) -> _Stat:
    # The name stands in parentheses and may itself hold spaces and parentheses.
    head, _, tail = text.rpartition(")")
    fields = tail.split()
    return _Stat(
        name=head.partition("(")[2],
        state=fields[0],
        parent=int(fields[1]),
        start_ticks=int(fields[19]),
    )


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
