"""One script of the host engine below its supervisor, and the process that forks supervisors."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import marshal
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from agent.engines import supervisor
from agent.engines.end_request import TOO_LATE, EndRequest
from agent.engines.marked_processes import ATTEMPT_VARIABLE, end_marked
from agent.engines.protocol import AttemptTerm, Outcome, OutputSink, StepResult
from pipelines_schema.log_frames import Stream

MAX_ATTEMPT_ID_CHARACTERS = 200
PIPE_BYTES = 1 << 20
SUPERVISOR_END_SECONDS = 10.0


class Nursery:
    """The process that forks the supervisors: started by the first script, anew if it is gone."""

    def __init__(self) -> None:
        self._socket: int | None = None
        self._process = 0

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Ends the nursery; supervisors that it forked go on."""
        if self._socket is not None:
            os.close(self._socket)
            self._socket = None
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self._process, 0)

    def fork(self, attempt_id: str, descriptors: Sequence[int]) -> None:
        """Have a supervisor forked that gets the descriptors. Raises OSError."""
        try:
            self._send(attempt_id, descriptors)
        except (BrokenPipeError, ConnectionResetError):
            self.close()
            self._send(attempt_id, descriptors)

    def _send(self, attempt_id: str, descriptors: Sequence[int]) -> None:
        if self._socket is None:
            self._socket = self._start()
        with socket.socket(fileno=os.dup(self._socket)) as connection:
            socket.send_fds(connection, [attempt_id.encode()], descriptors)

    def _start(self) -> int:
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, its:
            program = str(Path(__file__).with_name("supervisor.py"))
            self._process = os.posix_spawn(
                sys.executable,
                [sys.executable, "-I", "-S", "-B", program, "3"],
                # The place in which each supervisor writes its attempt's id.
                {ATTEMPT_VARIABLE: "-" * MAX_ATTEMPT_ID_CHARACTERS},
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, its.fileno(), 3),
                    *((os.POSIX_SPAWN_OPEN, n, os.devnull, os.O_RDWR, 0) for n in range(3)),
                ],
                setsid=True,
            )
            return ours.detach()


class SupervisedScript:
    """One script below its supervisor: started, read, and ended as a whole."""

    def __init__(
        self,
        *,
        nursery: Nursery,
        attempt_id: str,
        argv: Sequence[str],
        env: Mapping[str, str],
        cwd: Path,
        uid: int | None,
        offline: bool,
        output: OutputSink,
        grace_seconds: float = 0.0,
        end: EndRequest | None = None,
        term: AttemptTerm | None = None,
    ) -> None:
        """By `end` it is asked to end, as it is at its timeout, if it has a grace."""
        self._nursery = nursery
        self._attempt_id = attempt_id
        self._uid = uid
        self._request = {
            "argv": list(argv),
            "env": dict(env),
            "cwd": str(cwd),
            "uid": uid,
            "offline": offline,
            "grace": grace_seconds,
        }
        self._grace_seconds = grace_seconds
        self._end_request = end or EndRequest()
        self._output = output
        self._term = term

    async def run(self, timeout_seconds: float) -> StepResult:
        loop = asyncio.get_running_loop()
        printed, status, control = pipes = [_Pipe(PIPE_BYTES), _Pipe(), _Pipe()]
        orders = _Orders(control)
        ended = asyncio.Event()
        lines: list[bytes] = []
        try:
            if self._uid is not None:
                # Else the script could write to it, but not open it by its name, /dev/stderr.
                os.fchown(printed.write, self._uid, -1)
            self._start(printed, status, control)
            unfollow = self._tell_term(orders)
            drain = self._read_into_output(loop, printed)
            _read_pipe(loop, status, lines.append, ended.set)
            try:
                timed_out = not await self._ends_within(timeout_seconds, ended, orders)
            finally:
                unfollow()
                control.close_writer()
                await asyncio.shield(self._end(lines, ended))
                drain()
            return _result(b"".join(lines), timed_out, timeout_seconds)
        finally:
            for pipe in pipes:
                pipe.close(loop)

    def _start(self, printed: _Pipe, status: _Pipe, control: _Pipe) -> None:
        request = os.memfd_create("pushrod-request")
        try:
            ends_at = float("inf") if self._term is None else self._term.ends_at
            os.write(request, marshal.dumps({**self._request, "ends_at": ends_at}))
            self._nursery.fork(
                self._attempt_id,
                # Its streams are one, or lines would change places on their way to the log.
                [control.read, printed.write, printed.write, status.write, request],
            )
        finally:
            os.close(request)
        for pipe in (printed, status):
            pipe.close_writer()

    async def _ends_within(self, seconds: float, ended: asyncio.Event, orders: _Orders) -> bool:
        """Whether it does; one that does not has its grace, after which this returns."""
        if not self._grace_seconds:
            return await _within(ended, seconds)
        with self._end_request.heard_by(orders.ask):
            if await _within(ended, seconds):
                return True
            orders.ask()
            await _within(ended, self._grace_seconds + SUPERVISOR_END_SECONDS)
            return False

    def _tell_term(self, orders: _Orders) -> Callable[[], None]:
        """Have the supervisor told each later end of the term; returns what stops that."""
        if self._term is None:
            return _nothing
        # What was renewed since the request was written was told to nobody.
        orders.prolong(self._term.ends_at)
        return self._term.follow(orders.prolong)

    def _read_into_output(self, loop: asyncio.AbstractEventLoop, pipe: _Pipe) -> Callable[[], None]:
        """Give the pipe's bytes to the output as they come; the result drains what is left."""

        def take(data: bytes) -> None:
            self._output.write(Stream.STDOUT, data)

        _read_pipe(loop, pipe, take, None)
        return lambda: _drain(pipe, take)

    async def _end(self, lines: list[bytes], ended: asyncio.Event) -> None:
        """Wait for the supervisor to end everything; where it can't (was killed), do it here."""
        try:
            async with asyncio.timeout(SUPERVISOR_END_SECONDS):
                await ended.wait()
        except TimeoutError:
            # It holds its status open, so the number is still its own.
            if pid := _status_words(b"".join(lines)).get(b"supervisor"):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
        if b"exited" not in _status_words(b"".join(lines)):
            await asyncio.to_thread(end_marked, self._attempt_id, 0.0)


def _nothing() -> None:
    """What stops the following of no term."""


async def _within(event: asyncio.Event, seconds: float) -> bool:
    """Whether the event came before the time ran out."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True


class _Pipe:
    def __init__(self, size: int = 0) -> None:
        """Of that many bytes, if the system allows; of its usual size for 0."""
        self.read, self.write = os.pipe2(os.O_CLOEXEC)
        if size:
            with contextlib.suppress(OSError):  # beyond the user's limit for pipes: only slower
                fcntl.fcntl(self.read, fcntl.F_SETPIPE_SZ, size)
        self._open = {self.read, self.write}

    def close_writer(self) -> None:
        self._close_end(self.write)

    def close(self, loop: asyncio.AbstractEventLoop) -> None:
        if self.read in self._open:
            loop.remove_reader(self.read)
        self._close_end(self.read)
        self._close_end(self.write)

    def _close_end(self, end: int) -> None:
        if end in self._open:
            self._open.discard(end)
            os.close(end)


class _Orders:
    """What the supervisor is told; each message says all of it."""

    def __init__(self, control: _Pipe) -> None:
        self._write = control.write
        self._ends_at = float("inf")
        self._asked = False
        os.set_blocking(self._write, False)

    def prolong(self, ends_at: float) -> None:
        """The term ends later."""
        self._ends_at = ends_at
        self._tell()

    def ask(self) -> None:
        """The script is to end by itself."""
        self._asked = True
        self._tell()

    def _tell(self) -> None:
        # A supervisor that is gone, or stuck, has no use for it.
        with contextlib.suppress(BrokenPipeError, BlockingIOError):
            os.write(self._write, supervisor.CONTROL.pack(self._ends_at, self._asked))


def _read_pipe(
    loop: asyncio.AbstractEventLoop,
    pipe: _Pipe,
    take: Callable[[bytes], None],
    at_end: Callable[[], None] | None,
) -> None:
    os.set_blocking(pipe.read, False)

    def readable() -> None:
        try:
            data = os.read(pipe.read, PIPE_BYTES)
        except BlockingIOError:
            return
        if data:
            take(data)
        else:
            loop.remove_reader(pipe.read)
            if at_end is not None:
                at_end()

    loop.add_reader(pipe.read, readable)


def _drain(pipe: _Pipe, take: Callable[[bytes], None]) -> None:
    """Take what is in the pipe now.

    Every process of the script is dead, so nothing more comes; an end held open elsewhere (the
    script may have passed it to a daemon) must not keep us waiting.
    """
    while True:
        try:
            data = os.read(pipe.read, PIPE_BYTES)
        except BlockingIOError:
            return
        if not data:
            return
        take(data)


def _status_words(status: bytes) -> dict[bytes, bytes]:
    return dict(line.partition(b" ")[::2] for line in reversed(status.splitlines()))


def _result(status: bytes, timed_out: bool, timeout_seconds: float) -> StepResult:
    """What the supervisor's status lines mean."""
    words = _status_words(status)
    if timed_out:
        message = TOO_LATE.format(seconds=timeout_seconds)
        return StepResult(outcome=Outcome.TIMED_OUT, message=message)
    if b"failed" in words:
        why = words[b"failed"].decode("utf-8", "replace")
        return StepResult(
            outcome=Outcome.ENGINE_FAILED, message=f"The script could not be started: {why}"
        )
    if b"overdue" in words:
        return StepResult(outcome=Outcome.LEASE_OVER)
    if b"exited" in words:
        return StepResult(outcome=Outcome.EXITED, exit_code=int(words[b"exited"]))
    return StepResult(
        outcome=Outcome.ENGINE_FAILED,
        message="The supervisor of the script was killed, and the script with it.",
    )
