"""The engine's calls to us: gRPC over HTTP/2, both inside the messages of one session.

gRPC's own library takes a turn of its loop and one of ours for each message it sends, 0.2 ms of
processor time. A source is one message a file, so we put many into one piece ourselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import struct
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, NoReturn
from urllib.parse import quote

import grpc
import grpc.aio
from h2 import events
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings
from hyperframe.frame import DataFrame

from agent.engines.buildkit.pb import control_pb2

logger = logging.getLogger(__name__)

PIECE_BYTES = 256 * 1024
UNREAD_BYTES = 1024 * 1024
"""The most that the engine may send on one call before somebody reads it."""
TOLD_BYTES = UNREAD_BYTES // 4
"""That the engine may send more is told at every so many bytes."""
METADATA_BYTES = 1024 * 1024
"""Of one call, which may name all lines of a .dockerignore. h2 takes 64 frames of it, no more."""
WHOLE_WINDOW = 2**31 - 1
"""Of all calls together HTTP/2 allows no more: a call that nobody reads is not to stop others."""
_BEFORE_SETTINGS = 65_535
DataFrame.__repr__ = object.__repr__  # type: ignore[method-assign]
"""h2 asks for it at each frame, for a log that nobody keeps: with all the data in hexadecimal that
was a third of its time with outputs."""
_PREFIX = struct.Struct(">BI")
"""Of each message: whether it is compressed, and its size."""


class CallFailedError(Exception):
    """What the engine is told instead of an answer."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(details)
        self.code = code


class Call:
    """One call of the engine's, whose messages are raw in both directions."""

    def __init__(
        self,
        number: int,
        metadata: Sequence[tuple[str, str]],
        send: Callable[[int, bytes], Awaitable[None]],
        taken: Callable[[int, int], None],
    ) -> None:
        """`send` bytes to the engine; `taken` lets it send that many more."""
        self.metadata = metadata
        """Names with values, of which one name may have several."""
        self._number = number
        self._send = send
        self._taken = taken
        self._buffer = bytearray()
        self._messages: deque[bytes] = deque()
        self._unread = 0
        self._held_back = 0
        self._ended = False
        self._arrived = asyncio.Event()

    async def read(self) -> bytes | None:
        """The next message; None if the engine sends no more."""
        while not self._messages and not self._ended:
            self._arrived.clear()
            await self._arrived.wait()
        if not self._messages:
            return None
        message = self._messages.popleft()
        self._unread -= len(message)
        self._let_more()
        return message

    async def question(self) -> bytes:
        """The message of a call that has but one. Raises CallFailedError."""
        message = await self.read()
        if message is None:
            raise CallFailedError(grpc.StatusCode.INVALID_ARGUMENT, "nothing was asked")
        return message

    async def write(self, *messages: bytes) -> None:
        """Send them in one piece. For one task at a time."""
        framed = [part for one in messages for part in (_PREFIX.pack(0, len(one)), one)]
        await self._send(self._number, b"".join(framed))

    async def abort(self, code: grpc.StatusCode, details: str) -> NoReturn:
        """End the call with this error; to be raised through its handler."""
        raise CallFailedError(code, details)

    def take(self, data: bytes, size: int) -> None:
        """What came from the engine, and how much of what it may send that was."""
        self._buffer += data
        self._held_back += size
        while (message := self._next_message()) is not None:
            self._messages.append(message)
            self._unread += len(message)
        self._let_more()
        self._arrived.set()

    def end(self) -> None:
        """The engine sends no more."""
        self._ended = True
        self._arrived.set()

    def drop(self) -> None:
        """Nobody reads what is left."""
        self._taken(self._number, self._held_back)

    def _next_message(self) -> bytes | None:
        if len(self._buffer) < _PREFIX.size:
            return None
        compressed, size = _PREFIX.unpack_from(self._buffer)
        end = _PREFIX.size + size
        if compressed:
            raise ProtocolError("the engine compresses, though nobody offered to take that")
        if len(self._buffer) < end:
            return None
        message = bytes(memoryview(self._buffer)[_PREFIX.size : end])
        del self._buffer[:end]
        return message

    def _let_more(self) -> None:
        # A message may be larger than all that may be under way: its parts never count.
        if self._held_back >= TOLD_BYTES and self._unread < UNREAD_BYTES:
            self._taken(self._number, self._held_back)
            self._held_back = 0


Handler = Callable[[Call], Awaitable[None]]


class SessionCalls:
    """Answers the engine's calls by `handlers` (by method path) over `session`, grpc's stream."""

    def __init__(self, session: Any, handlers: Mapping[str, Handler]) -> None:
        self._session = session
        self._handlers = handlers
        # Of what it asks for, the engine tells names that begin or end with a blank as they are.
        config = H2Configuration(
            client_side=False, header_encoding=None, validate_inbound_headers=False
        )
        self._connection = H2Connection(config)
        self._connection.local_settings = Settings(
            client=False,
            initial_values={
                SettingCodes.INITIAL_WINDOW_SIZE: UNREAD_BYTES,
                SettingCodes.MAX_CONCURRENT_STREAMS: 1000,
                SettingCodes.MAX_HEADER_LIST_SIZE: METADATA_BYTES,
            },
        )
        self._connection.decoder.max_header_list_size = METADATA_BYTES
        self._calls: dict[int, Call] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._over = False
        self._to_send = asyncio.Event()
        self._room = asyncio.Event()

    async def serve(self) -> None:
        """Until cancelled, or the session ends. Calls that are under way have ended then."""
        self._connection.initiate_connection()
        self._connection.increment_flow_control_window(WHOLE_WINDOW - _BEFORE_SETTINGS)
        self._to_send.set()
        ways = [
            asyncio.create_task(_one_way(self._take_pieces())),
            asyncio.create_task(_one_way(self._send_pieces())),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            tasks = [*ways, *self._tasks.values()]
            for task in tasks:
                task.cancel()
            self._session.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _take_pieces(self) -> None:
        while not self._over and (message := await self._session.read()) is not grpc.aio.EOF:
            for event in self._connection.receive_data(message.data):
                self._take(event)
            self._to_send.set()

    def _take(self, event: events.Event) -> None:
        match event:
            case events.RequestReceived():
                self._begin(event)
            case events.DataReceived():
                self._receive(event)
            case events.StreamEnded():
                if event.stream_id in self._calls:
                    self._calls[event.stream_id].end()
            case events.StreamReset():
                if event.stream_id in self._tasks:
                    self._tasks[event.stream_id].cancel()
            case events.ConnectionTerminated():
                self._over = True
            case events.WindowUpdated() | events.RemoteSettingsChanged():
                self._room.set()

    def _begin(self, event: events.RequestReceived) -> None:
        number = event.stream_id
        headers = [_text(name, value) for name, value in event.headers]
        handler = self._handlers.get(dict(headers).get(":path", ""))
        metadata = [(name, value) for name, value in headers if not name.startswith(":")]
        call = self._calls[number] = Call(number, metadata, self._send, self._taken)
        task = self._tasks[number] = asyncio.create_task(self._answer(number, call, handler))
        # Not in the task, which may be cancelled before it begins.
        task.add_done_callback(lambda _: self._forget(number))

    def _forget(self, number: int) -> None:
        del self._tasks[number]
        self._calls.pop(number).drop()

    def _receive(self, event: events.DataReceived) -> None:
        size = event.flow_controlled_length or 0
        if event.stream_id in self._calls:
            self._calls[event.stream_id].take(event.data or b"", size)
        else:
            self._taken(event.stream_id, size)

    def _taken(self, number: int, size: int) -> None:
        if size:
            self._connection.acknowledge_received_data(size, number)
            self._to_send.set()

    async def _answer(self, number: int, call: Call, handler: Handler | None) -> None:
        code, details = grpc.StatusCode.OK, ""
        try:
            self._connection.send_headers(number, _HEADERS)
            if handler is None:
                code, details = grpc.StatusCode.UNIMPLEMENTED, "nobody offered this"
            else:
                await handler(call)
        except CallFailedError as error:
            code, details = error.code, str(error)
        except Exception as error:  # a task root
            logger.exception("a call of the engine's failed")
            code, details = grpc.StatusCode.UNKNOWN, str(error)
        # Where the engine has given the call up meanwhile, nobody hears it.
        with contextlib.suppress(ProtocolError):
            self._connection.send_headers(number, _status(code, details), end_stream=True)
        self._to_send.set()

    async def _send(self, number: int, data: bytes) -> None:
        at = 0
        while at < len(data):
            most = self._connection.max_outbound_frame_size
            room = min(self._connection.local_flow_control_window(number), most)
            if room <= 0:
                self._room.clear()
                await self._room.wait()
                continue
            self._connection.send_data(number, data[at : at + room])
            self._to_send.set()
            at += room

    async def _send_pieces(self) -> None:
        # Two writes at once on one stream hang for ever, so one task alone writes.
        while True:
            while data := self._connection.data_to_send(PIECE_BYTES):
                await self._session.write(control_pb2.BytesMessage(data=data))
            self._to_send.clear()
            await self._to_send.wait()


async def _one_way(work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
        # The session ended with its engine: the build's own calls report it.
        return
    except Exception:  # a task root
        logger.exception("the engine's calls can't be answered any more")


_HEADERS = [(":status", "200"), ("content-type", "application/grpc")]


def _status(code: grpc.StatusCode, details: str) -> list[tuple[str, str]]:
    number: int = code.value[0]
    told = quote(details, safe=" /:,;=@()[]'", errors="replace")
    return [("grpc-status", str(number)), *([("grpc-message", told)] if told else [])]


def _text(name: bytes, value: bytes) -> tuple[str, str]:
    return name.decode(errors="replace"), value.decode(errors="replace")
