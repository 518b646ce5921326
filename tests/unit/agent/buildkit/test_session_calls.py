"""The calls of a session, made by gRPC's own library."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from agent.engines.buildkit.pb import control_pb2
from agent.engines.buildkit.session_calls import UNREAD_BYTES, Call, Handler, SessionCalls

METHOD = "/of.a.test/Call"
LARGE = bytes(range(256)) * (3 * UNREAD_BYTES // 256)
"""More than the other side may send before it hears that it may send more."""
PATIENCE_SECONDS = 30.0


class Session:
    """What is grpc's stream to the engine, over a socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.pieces = 0
        self.cancelled = False

    async def read(self) -> Any:
        data = await self._reader.read(64 * 1024)
        return control_pb2.BytesMessage(data=data) if data else grpc.aio.EOF

    async def write(self, message: Any) -> None:
        self.pieces += 1
        self._writer.write(message.data)
        await self._writer.drain()

    def cancel(self) -> None:
        self.cancelled = True
        self._writer.transport.abort()

    async def closed(self) -> None:
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()


class Sides:
    """A channel of gRPC's own to `SessionCalls`, and what became of that."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self.sessions: list[Session] = []
        self.serving: list[asyncio.Task[None]] = []

    def call(self, method: str = METHOD, **more: Any) -> Any:
        return self.channel.stream_stream(method)(**more)


@asynccontextmanager
async def sides(folder: Path, handlers: Mapping[str, Handler]) -> AsyncIterator[Sides]:
    path = str(folder / "socket")
    options = (("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.close()  # gRPC would open another one after its end
        session = Session(reader, writer)
        made.sessions.append(session)
        made.serving.append(asyncio.create_task(SessionCalls(session, handlers).serve()))

    server = await asyncio.start_unix_server(serve, path)
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            async with grpc.aio.insecure_channel(f"unix:{path}", options=options) as channel:
                made = Sides(channel)
                yield made
                for serving in made.serving:
                    serving.cancel()
                await asyncio.gather(*made.serving, return_exceptions=True)
                for session in made.sessions:
                    assert session.cancelled
                    await session.closed()
    finally:
        server.close()


async def echo(call: Call) -> None:
    while (message := await call.read()) is not None:
        await call.write(message)


@pytest.mark.parametrize("message", [b"", b"x", LARGE], ids=["empty", "small", "large"])
async def test_messages_of_any_size_go_both_ways(tmp_path: Path, message: bytes) -> None:
    async with sides(tmp_path, {METHOD: echo}) as both:
        call = both.call()
        for _ in range(2):
            await call.write(message)
            assert await call.read() == message
        await call.done_writing()

        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK


async def test_many_messages_go_in_few_pieces(tmp_path: Path) -> None:
    messages = [b"%d" % number for number in range(5_000)]

    async def tell(call: Call) -> None:
        await call.write(*messages)

    async with sides(tmp_path, {METHOD: tell}) as both:
        assert [one async for one in both.call()] == messages
        assert both.sessions[0].pieces < 20


async def test_a_call_that_nobody_reads_does_not_stop_another(tmp_path: Path) -> None:
    read = asyncio.Event()

    async def waits(call: Call) -> None:
        await read.wait()
        received = [message async for message in _messages(call)]
        await call.write(b"%d" % len(received))

    async with sides(tmp_path, {METHOD: echo, "/of.a.test/Waits": waits}) as both:
        slow = both.call("/of.a.test/Waits")
        filling = asyncio.create_task(_fill(slow, 30))
        quick = both.call()
        await quick.write(LARGE)
        assert await quick.read() == LARGE
        assert not filling.done(), "the engine sent more than it may before somebody reads"
        read.set()
        await filling
        assert await slow.read() == b"30"


async def _fill(call: Any, count: int) -> None:
    for _ in range(count):
        await call.write(LARGE[:UNREAD_BYTES])
    await call.done_writing()


async def _messages(call: Call) -> AsyncIterator[bytes]:
    while (message := await call.read()) is not None:
        yield message


async def _refuses(call: Call) -> None:
    await call.abort(grpc.StatusCode.NOT_FOUND, "no secret Ü 100 %\n")


async def _breaks(call: Call) -> None:
    raise ValueError("broken")


async def _names(call: Call) -> None:
    raise ValueError("no UTF-8: \udcff")


async def _asks(call: Call) -> None:
    await call.question()


@pytest.mark.parametrize(
    ("handlers", "code", "details"),
    [
        ({METHOD: _refuses}, grpc.StatusCode.NOT_FOUND, "no secret Ü 100 %\n"),
        ({METHOD: _breaks}, grpc.StatusCode.UNKNOWN, "broken"),
        ({METHOD: _names}, grpc.StatusCode.UNKNOWN, "no UTF-8: ?"),
        ({METHOD: _asks}, grpc.StatusCode.INVALID_ARGUMENT, "nothing was asked"),
        ({}, grpc.StatusCode.UNIMPLEMENTED, "nobody offered this"),
    ],
    ids=["refused", "broken", "odd name", "nothing asked", "unknown"],
)
async def test_the_engine_hears_why_a_call_fails(
    tmp_path: Path,
    handlers: Mapping[str, Handler],
    code: grpc.StatusCode,
    details: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # pytest-xdist can't hand on a log with such a name.
    monkeypatch.setattr(logging.getLogger("agent.engines.buildkit.session_calls"), "disabled", True)
    async with sides(tmp_path, handlers) as both:
        call = both.call()
        await call.done_writing()
        assert await call.code() is code
        assert await call.details() == details


async def test_a_handler_sees_all_values_of_a_name(tmp_path: Path) -> None:
    async def tell(call: Call) -> None:
        await call.write(*(value.encode() for name, value in call.metadata if name == "path"))

    async with sides(tmp_path, {METHOD: tell}) as both:
        call = both.call(metadata=(("path", "one"), ("path", " two, three ")))
        assert [one async for one in call] == [b"one", b" two, three "]


async def test_a_call_may_name_very_many_values(tmp_path: Path) -> None:
    """As a .dockerignore does."""

    async def count(call: Call) -> None:
        await call.write(b"%d" % sum(name == "path" for name, _ in call.metadata))

    values = [("path", f"folder-{number}/*.txt") for number in range(5_000)]
    async with sides(tmp_path, {METHOD: count}) as both:
        assert [one async for one in both.call(metadata=values)] == [b"5000"]


def _cancel(both: Sides, call: Any) -> None:
    call.cancel()


def _end_session(both: Sides, call: Any) -> None:
    both.serving[0].cancel()


@pytest.mark.parametrize("end", [_cancel, _end_session], ids=["call", "session"])
async def test_the_end_of_a_call_cancels_its_handler(
    tmp_path: Path, end: Callable[[Sides, Any], None]
) -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def lasts(call: Call) -> None:
        began.set()
        try:
            await call.write(LARGE)  # more than the engine lets come
            await call.read()
        finally:
            ended.set()

    async with sides(tmp_path, {METHOD: lasts}) as both:
        call = both.call()
        await began.wait()
        end(both, call)
        await ended.wait()


async def test_a_handler_may_fail_once_nobody_waits_for_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its fault is told, and is all that is told."""
    began, ended = asyncio.Event(), asyncio.Event()

    async def fails(call: Call) -> None:
        began.set()
        try:
            await call.read()
        finally:
            ended.set()
            raise ValueError("broken")

    async with sides(tmp_path, {METHOD: fails, "/of.a.test/Echo": echo}) as both:
        call = both.call()
        await began.wait()
        call.cancel()
        await ended.wait()
        other = both.call("/of.a.test/Echo")
        await other.write(b"x")
        assert await other.read() == b"x"
    gc.collect()
    assert [one.getMessage() for one in caplog.records] == ["a call of the engine's failed"]


class _Odd:
    """A session that brings nothing, or what nobody expects."""

    def __init__(self, *, read: bytes | Exception | None = None, write: bool = True) -> None:
        self._read, self._write = read, write
        self.cancelled = False

    async def read(self) -> Any:
        if isinstance(self._read, Exception):
            raise self._read
        if self._read is None:
            await asyncio.Event().wait()
        return control_pb2.BytesMessage(data=self._read)

    async def write(self, message: Any) -> None:
        if not self._write:
            raise ValueError("broken")

    def cancel(self) -> None:
        self.cancelled = True


@pytest.mark.parametrize(
    "odd",
    [
        {"read": b"GET / HTTP/1.1\r\nHost: engine\r\n\r\n"},
        {"read": ValueError("broken")},
        {"write": False},
    ],
    ids=["no HTTP/2", "read", "write"],
)
async def test_a_fault_ends_the_session_and_is_told(
    odd: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    session = _Odd(**odd)

    await asyncio.wait_for(SessionCalls(session, {}).serve(), PATIENCE_SECONDS)

    assert session.cancelled
    assert [one.getMessage() for one in caplog.records] == [
        "the engine's calls can't be answered any more"
    ]
