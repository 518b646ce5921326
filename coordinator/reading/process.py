"""One process in which text is read, from the coordinator's side."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from typing import IO, Any

from coordinator.ports import NotRead
from coordinator.reading import limits
from coordinator.reading.limits import Limits
from pipelines_schema import Place

MAX_PLACE_BYTES = 4096
_ENVIRONMENT = ("PYTHONPATH", "LD_LIBRARY_PATH")
"""What it may need to find its code; nothing else of ours is its business."""


class EndedFromOutside(Exception):
    """Somebody ended the process, such as a kernel without memory: its text is not to blame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    was_read: bool
    value: Any
    """The result, or the error that reading raised."""
    kept: bool
    """Whether the process can be asked again."""


@dataclass(frozen=True, slots=True)
class ReadingProcess:
    """It belongs to no event loop: who keeps one may ask it from another."""

    _process: subprocess.Popen[bytes]
    _ours: socket.socket
    """Its standard input and output are the other end."""
    _place: IO[bytes]
    _limits: Limits

    @classmethod
    def start(cls, of: Limits) -> ReadingProcess:
        place = tempfile.TemporaryFile()  # noqa: SIM115 - it is closed with the process
        ours, its = socket.socketpair()
        command = [sys.executable, "-P", "-m", "coordinator.reading.child"]
        try:
            with its:
                process = subprocess.Popen(
                    [*command, *map(str, (place.fileno(), of.seconds, of.memory_bytes))],
                    stdin=its.fileno(),
                    stdout=its.fileno(),
                    pass_fds=(place.fileno(),),
                    env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
                    start_new_session=True,  # a Ctrl-C at the terminal is not for it
                )
        except BaseException:
            place.close()
            ours.close()
            raise
        ours.setblocking(False)
        return cls(process, ours, place, of)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    async def ask(self, request: bytes) -> Answered:
        """Raises NotRead, EndedFromOutside."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._limits.wait_seconds):
                await loop.sock_sendall(self._ours, limits.LENGTH.pack(len(request)) + request)
                (length,) = limits.LENGTH.unpack(await self._receive(limits.LENGTH.size))
                was_read, value, kept = pickle.loads(  # noqa: S301 - our own process wrote it
                    await self._receive(length)
                )
                return Answered(was_read=was_read, value=value, kept=kept)
        except (EOFError, ConnectionError):
            raise self._cause(await asyncio.to_thread(self._process.wait)) from None
        except TimeoutError:
            seconds = self._limits.wait_seconds
            raise NotRead(f"takes more than {seconds:.0f} s to read", None) from None

    async def _receive(self, length: int) -> memoryview:
        """Raises EOFError."""
        loop, received = asyncio.get_running_loop(), memoryview(bytearray(length))
        at = 0
        while at < length:
            more = await loop.sock_recv_into(self._ours, received[at:])
            if not more:
                raise EOFError
            at += more
        return received

    async def end(self) -> None:
        """At once, whatever it is doing."""
        if self.is_alive:
            self._process.kill()
        self._ours.close()
        self._place.close()
        await asyncio.to_thread(self._process.wait)

    def _cause(self, code: int) -> Exception:
        match code:
            case _ if code == -limits.CONDITION_TOO_LONG:
                milliseconds = round(limits.CONDITION_SECONDS * 1000)
                said = f"takes more than {milliseconds} ms of processor time to work out"
                return NotRead(f"{said}: make it simpler", self._last_place())
            case _ if code == -limits.READING_TOO_LONG:
                said = f"takes more than {self._limits.seconds} s of processor time to read"
                return NotRead(f"{said}: make it smaller or simpler", None)
            case limits.OUT_OF_MEMORY:
                mebibytes = self._limits.memory_bytes // 1024 // 1024
                said = f"takes more than {mebibytes} MiB of memory to read"
                return NotRead(f"{said}: make it smaller or simpler", self._last_place())
            case _ if code in (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP):
                return EndedFromOutside()
            case _:
                how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
                said = f"ended the process that was reading it ({how}), perhaps for want of memory"
                return NotRead(f"{said}: make it smaller or simpler", self._last_place())

    def _last_place(self) -> Place | None:
        place: Place | None = pickle.loads(  # noqa: S301 - our own process wrote it
            os.pread(self._place.fileno(), MAX_PLACE_BYTES, 0)
        )
        return place
