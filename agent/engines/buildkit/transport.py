"""A way to the engine for gRPC, which dials only plain sockets.

dockerd offers BuildKit on its own API socket, by an HTTP/1.1 upgrade. A bridge does the upgrade for
each connection that gRPC opens on a private socket, and then only moves bytes.
"""

from __future__ import annotations

import asyncio
import json
import socket
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self, cast

UPGRADE = (
    b"POST /grpc HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"
    b"Content-Length: 0\r\n\r\n"
)
PING = b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n"
ANSWER_SECONDS = 5.0
USED_UP_SECONDS = 1.0
MAX_ANSWER_BYTES = 16 * 1024


async def speaks_docker(path: str) -> bool:
    """Whether the socket is a Docker API's. Raises OSError if nobody answers there."""
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        writer.write(PING)
        async with asyncio.timeout(ANSWER_SECONDS):
            answer = await reader.read(12)
        return answer.startswith(b"HTTP/1.")
    except (ConnectionError, TimeoutError):
        return False
    finally:
        writer.close()


async def docker_version(path: str) -> str:
    """The Docker Engine's version, empty if it doesn't say. Raises OSError."""
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        writer.write(b"GET /version HTTP/1.0\r\nHost: docker\r\n\r\n")
        async with asyncio.timeout(ANSWER_SECONDS):
            answer = await reader.read(-1)
        return str(json.loads(answer.partition(b"\r\n\r\n")[2])["Version"])
    except (ValueError, KeyError, TypeError):
        return ""
    finally:
        writer.close()


class Splice(asyncio.Protocol):
    """One half of a pair of connections: what comes in goes out on the other half."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: Splice | None = None
        self._early = bytearray()

    def pair(self, other: Splice) -> None:
        """Let both move each other's bytes; what came before goes first."""
        self.other, other.other = other, self
        for half in (self, other):
            if half._early:
                half._forward(bytes(half._early))
                half._early.clear()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self.other is None:
            self._early += data
        else:
            self._forward(data)

    def _forward(self, data: bytes) -> None:
        if self.other and self.other.transport:
            self.other.transport.write(data)

    def pause_writing(self) -> None:
        if self.other and self.other.transport:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other and self.other.transport and not self.other.transport.is_closing():
            self.other.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self.close_other()

    def close_other(self) -> None:
        if self.other and self.other.transport:
            self.other.transport.close()


class _Upgrading(Splice):
    """The engine's half: takes the answer to the upgrade first."""

    def __init__(self, near: _Near) -> None:
        super().__init__()
        self._near = near
        near.far = self
        self._answer = bytearray()
        self._upgraded = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        cast(asyncio.Transport, transport).write(UPGRADE)

    def data_received(self, data: bytes) -> None:
        if self._upgraded:
            super().data_received(data)
            return
        self._answer += data
        head, end, rest = bytes(self._answer).partition(b"\r\n\r\n")
        if not end:
            if len(self._answer) > MAX_ANSWER_BYTES:
                self._give_up()
            return
        if b" 101 " not in head.split(b"\r\n", 1)[0] + b" ":
            self._give_up()
            return
        self._upgraded = True
        self.pair(self._near)
        if rest:
            super().data_received(rest)

    def connection_lost(self, error: Exception | None) -> None:
        if not self._upgraded:
            self._give_up()
        super().connection_lost(error)

    def _give_up(self) -> None:
        for half in (self, self._near):
            if half.transport:
                half.transport.close()


class _Near(Splice):
    """gRPC's half."""

    def __init__(self, bridge: DockerBridge, accepted: socket.socket) -> None:
        super().__init__()
        self._bridge = bridge
        self._accepted = accepted
        self.far: Splice | None = None

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self._bridge.forget(self)
        self.abort()

    def abort(self) -> None:
        """Drop both connections, whatever is still to be sent."""
        if self.transport is None:
            self._accepted.close()
        for half in (self, self.far):
            if half is not None and half.transport is not None:
                half.transport.abort()


class DockerBridge:
    """A private unix socket whose connections are upgraded ones to a Docker API socket.

    It accepts by itself: asyncio's servers forget the socket on which they listen when they are
    cancelled as they begin, and connections that they have just accepted when they are closed.
    """

    def __init__(self, docker_socket: str) -> None:
        self._docker_socket = docker_socket
        self._folder = tempfile.TemporaryDirectory(prefix="pushrod-", ignore_cleanup_errors=True)
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._serving: set[asyncio.Task[None]] = set()
        self._nears: set[_Near] = set()

    @property
    def path(self) -> str:
        return str(Path(self._folder.name, "engine.sock"))

    async def __aenter__(self) -> Self:
        """Waits for nothing, so that a cancel leaves nothing behind. Raises OSError."""
        try:
            self._listening.bind(self.path)
            self._listening.listen()
        except OSError:
            self._listening.close()
            self._folder.cleanup()
            raise
        self._listen()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        asyncio.get_running_loop().remove_reader(self._listening)
        self._listening.close()
        try:
            for task in self._serving:
                task.cancel()
            await asyncio.gather(*self._serving, return_exceptions=True)
        finally:  # also when we are cancelled while we wait
            for near in tuple(self._nears):
                near.abort()
            self._folder.cleanup()

    def _listen(self) -> None:
        if self._listening.fileno() >= 0:
            asyncio.get_running_loop().add_reader(self._listening, self._accept)

    def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            accepted, _ = self._listening.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError:  # descriptors or memory are used up
            loop.remove_reader(self._listening)
            loop.call_later(USED_UP_SECONDS, self._listen)
            return
        accepted.setblocking(False)
        near = _Near(self, accepted)
        self._nears.add(near)
        task = loop.create_task(self._serve(near, accepted))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    def forget(self, near: _Near) -> None:
        self._nears.discard(near)

    async def _serve(self, near: _Near, accepted: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(lambda: near, accepted)
            async with asyncio.timeout(ANSWER_SECONDS):
                await loop.create_unix_connection(lambda: _Upgrading(near), self._docker_socket)
        except OSError:  # TimeoutError too: gRPC sees a closed connection and reports it
            if near.transport:
                near.transport.close()
