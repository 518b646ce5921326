"""The session: the engine's way back to us, for sources to fetch and outputs to deliver."""

from __future__ import annotations

import asyncio
import secrets
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import grpc.aio

from agent.engines.buildkit.client import Client
from agent.engines.buildkit.pb import control_pb2

SEND_SOURCE = "/moby.filesync.v1.FileSync/DiffCopy"
GIVE_SECRET = "/moby.buildkit.secrets.v1.Secrets/GetSecret"  # noqa: S105 - a method
GIVE_CREDENTIALS = "/moby.filesync.v1.Auth/Credentials"
GET_TOKEN_AUTHORITY = "/moby.filesync.v1.Auth/GetTokenAuthority"  # noqa: S105 - a method
FETCH_TOKEN = "/moby.filesync.v1.Auth/FetchToken"  # noqa: S105 - a method
CHECK_FORWARDING = "/moby.sshforward.v1.SSH/CheckAgent"
FORWARD_SOCKET = "/moby.sshforward.v1.SSH/ForwardAgent"
TAKE_OUTPUT = "/moby.filesync.v1.FileSend/DiffCopy"
HEALTH = "/grpc.health.v1.Health/Check"
SERVING = b"\x08\x01"
"""grpc.health.v1.HealthCheckResponse with status SERVING."""
PIECE_BYTES = 256 * 1024

Stream: TypeAlias = grpc.aio.ServicerContext[bytes, bytes]
StreamHandler = Callable[[Stream], Awaitable[None]]


def asked_folder(stream: Stream) -> str:
    """The name of the source that the engine asks for by SEND_SOURCE."""
    given = dict(stream.invocation_metadata() or ())
    name = given.get("dir-name", "")
    return name.decode() if isinstance(name, bytes) else name


@asynccontextmanager
async def open_session(
    client: Client, *, shared_key: str, handlers: Mapping[str, StreamHandler]
) -> AsyncIterator[str]:
    """Serve the engine's calls to `handlers` (by method path) meanwhile; gives the session's id.

    Both ends of each handler's stream are raw messages. When the context ends, calls that are
    under way are cancelled and have ended.
    """
    session_id = secrets.token_hex(12)
    with tempfile.TemporaryDirectory(prefix="pushrod-", ignore_cleanup_errors=True) as folder:
        path = str(Path(folder, "session.sock"))
        server = grpc.aio.server(options=(("grpc.max_receive_message_length", -1),))
        server.add_generic_rpc_handlers((_Handlers(handlers),))
        server.add_insecure_port(f"unix:{path}")
        await server.start()
        call = client.session(_metadata(session_id, shared_key, handlers))
        try:
            reader, writer = await asyncio.open_unix_connection(path)
            # No TaskGroup: it would wrap what the body raises into a group.
            pumps = (
                asyncio.create_task(_to_engine(reader, call)),
                asyncio.create_task(_from_engine(call, writer)),
            )
            try:
                yield session_id
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
                writer.close()
        finally:
            call.cancel()
            await server.stop(None)


def _metadata(
    session_id: str, shared_key: str, handlers: Mapping[str, StreamHandler]
) -> tuple[tuple[str, str], ...]:
    return (
        ("x-docker-expose-session-uuid", session_id),
        ("x-docker-expose-session-name", "pushrod"),
        ("x-docker-expose-session-sharedkey", shared_key),
        *(("x-docker-expose-session-grpc-method", method) for method in (*handlers, HEALTH)),
    )


async def _to_engine(reader: asyncio.StreamReader, call: Any) -> None:
    try:
        while data := await reader.read(PIECE_BYTES):
            await call.write(control_pb2.BytesMessage(data=data))
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError, ConnectionError):
        # The session ended with its engine: the build's own calls report it.
        return


async def _from_engine(call: Any, writer: asyncio.StreamWriter) -> None:
    try:
        while (message := await call.read()) is not grpc.aio.EOF:
            writer.write(message.data)
            await writer.drain()
    except (grpc.aio.AioRpcError, ConnectionError):
        return


class _Handlers(grpc.GenericRpcHandler):
    def __init__(self, handlers: Mapping[str, StreamHandler]) -> None:
        self._handlers = handlers

    def service(self, details: Any) -> Any:
        if details.method == HEALTH:
            return grpc.unary_unary_rpc_method_handler(_healthy)
        handler = self._handlers.get(details.method)
        if handler is None:
            return None

        async def serve(_requests: object, stream: Stream) -> None:
            await handler(stream)

        return grpc.stream_stream_rpc_method_handler(serve)


async def _healthy(_request: bytes, _stream: object) -> bytes:
    return SERVING
