"""A `pushrod up` in the background: started once, found again, ended by pid and start time."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from agent.engines.private.locks import locked
from agent.engines.private.processes import (
    ProcessIdentity,
    identify,
    is_alive,
    send_signal,
    spawn_detached,
    wait_until_gone,
)
from pushrod.errors import CommandError

PREFERRED_PORT = 3000
READY_SECONDS = 180.0
"""The first start may unpack an engine; a usual one takes two seconds."""
DRAIN_SECONDS = 30.0
CANCEL_SECONDS = 20.0
KILL_SECONDS = 5.0
LOCK_SECONDS = 300.0
POLL_SECONDS = 0.05
TAIL_LINES = 12

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Background:
    """The process, and where in the log its own lines begin."""

    process: ProcessIdentity
    log_offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BackgroundPlaces:
    data: Path

    @property
    def record(self) -> Path:
        return self.data / "background.json"

    @property
    def log(self) -> Path:
        return self.data / "pushrod.log"

    @property
    def lock(self) -> Path:
        return self.data / "background.lock"


async def ensure_running(places: BackgroundPlaces, say: Say) -> str:
    """The URL of the background pushrod, which is started if it isn't there.

    Raises: CommandError with the end of its log if it does not come up.
    """
    places.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    async with locked(places.lock, timeout_seconds=LOCK_SECONDS, say=say):
        found = read_record(places.record)
        if found is None or not is_alive(found.process):
            found = _start(places, say)
        else:
            say(f"pushrod runs already (pid {found.process.pid})")
        return await _ready_url(places, found)


async def stop(places: BackgroundPlaces, say: Say) -> bool:
    """End it: drained, else its steps cancelled, else killed. Whether there was one."""
    if not places.record.exists():
        return False
    async with locked(places.lock, timeout_seconds=LOCK_SECONDS, say=say):
        found = read_record(places.record)
        running = found is not None and is_alive(found.process)
        if found is not None and running:
            await _end(found.process, say)
        places.record.unlink(missing_ok=True)
    return running


def read_record(path: Path) -> Background | None:
    """The record; None if there is none, or one of another version."""
    try:
        fields = json.loads(path.read_text())
        process = ProcessIdentity(**fields["process"])
        return Background(process=process, log_offset=int(fields["log_offset"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def listen_address(preferred_port: int = PREFERRED_PORT) -> str:
    """127.0.0.1 with the preferred port, or with 0, any free one, if something else has it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", preferred_port))
        except OSError:
            return "127.0.0.1:0"
    return f"127.0.0.1:{preferred_port}"


def find_ready_url(log: bytes) -> str | None:
    """The URL of a whole line `ready URL`."""
    for line in log.split(b"\n")[:-1]:
        if line.startswith(b"ready "):
            return line.removeprefix(b"ready ").decode()
    return None


def _start(places: BackgroundPlaces, say: Say) -> Background:
    listen = listen_address()
    if listen.endswith(":0"):
        say(f"port {PREFERRED_PORT} is taken by something else: using a free one")
    offset = places.log.stat().st_size if places.log.exists() else 0
    say(f"starting pushrod in the background (log: {places.log})")
    pid = spawn_detached(
        up_command(places.data, listen),
        environment=environment_for_demo(os.environ),
        output=places.log,
    )
    process = identify(pid)
    if process is None:
        raise CommandError(f"pushrod ended at once: {_tail(places.log, offset)}")
    started = Background(process=process, log_offset=offset)
    draft = places.record.with_suffix(".new")
    draft.write_text(json.dumps(asdict(started)))
    draft.replace(places.record)
    return started


def up_command(data: Path, listen: str) -> Sequence[str]:
    """argv of the background process; `-P` keeps the current folder out of its imports."""
    options = ("--data", str(data), "--listen", listen)
    return (sys.executable, "-P", "-m", "pushrod", "up", *options)


def environment_for_demo(environment: Mapping[str, str]) -> dict[str, str]:
    """Without the user's settings of pushrod, which are meant for another; the engine is shared."""
    return {
        name: text
        for name, text in environment.items()
        if not name.startswith("PUSHROD_") or name.startswith("PUSHROD_ENGINE_")
    }


async def _ready_url(places: BackgroundPlaces, background: Background) -> str:
    deadline = asyncio.get_running_loop().time() + READY_SECONDS
    while True:
        alive = is_alive(background.process)
        if url := find_ready_url(_log_from(places.log, background.log_offset)):
            return url
        if not alive:
            raise CommandError(f"pushrod ended: {_tail(places.log, background.log_offset)}")
        if asyncio.get_running_loop().time() > deadline:
            tail = _tail(places.log, background.log_offset)
            raise CommandError(f"pushrod isn't ready after {READY_SECONDS:.0f} s: {tail}")
        await asyncio.sleep(POLL_SECONDS)


async def _end(process: ProcessIdentity, say: Say) -> None:
    say(f"stopping pushrod (pid {process.pid})")
    for number, seconds, next_measure in (
        (signal.SIGTERM, DRAIN_SECONDS, "cancelling its running steps"),
        (signal.SIGTERM, CANCEL_SECONDS, "it does not end: killing it"),
        (signal.SIGKILL, KILL_SECONDS, ""),
    ):
        send_signal(process, number)
        if await wait_until_gone(process, timeout_seconds=seconds):
            return
        if next_measure:
            say(next_measure)
    raise CommandError(f"the process {process.pid} can't be ended")


def _log_from(log: Path, offset: int) -> bytes:
    try:
        with log.open("rb") as file:
            file.seek(offset)
            return file.read()
    except FileNotFoundError:
        return b""


def _tail(log: Path, offset: int) -> str:
    lines = _log_from(log, offset).decode(errors="replace").splitlines()
    return "\n".join([f"the end of {log}:", *lines[-TAIL_LINES:]])
