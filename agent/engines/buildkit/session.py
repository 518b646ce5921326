"""The session: the engine's way back to us, for sources to fetch and outputs to deliver."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from agent.engines.buildkit.client import Client
from agent.engines.buildkit.session_calls import Call, Handler, SessionCalls

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


def asked_folder(stream: Call) -> str:
    """The name of the source that the engine asks for by SEND_SOURCE."""
    return dict(stream.metadata).get("dir-name", "")


@asynccontextmanager
async def open_session(
    client: Client, *, shared_key: str, handlers: Mapping[str, Handler]
) -> AsyncIterator[str]:
    """Serve the engine's calls to `handlers` (by method path) meanwhile; gives the session's id.

    Both ends of each handler's stream are raw messages. When the context ends, calls that are
    under way are cancelled and have ended.
    """
    session_id = secrets.token_hex(12)
    session = client.session(_metadata(session_id, shared_key, handlers))
    calls = SessionCalls(session, {**handlers, HEALTH: _healthy})
    # No TaskGroup: it would wrap what the body raises into a group.
    serving = asyncio.create_task(calls.serve())
    try:
        yield session_id
    finally:
        session.cancel()
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


def _metadata(
    session_id: str, shared_key: str, handlers: Mapping[str, Handler]
) -> tuple[tuple[str, str], ...]:
    return (
        ("x-docker-expose-session-uuid", session_id),
        ("x-docker-expose-session-name", "pushrod"),
        ("x-docker-expose-session-sharedkey", shared_key),
        *(("x-docker-expose-session-grpc-method", method) for method in (*handlers, HEALTH)),
    )


async def _healthy(stream: Call) -> None:
    await stream.question()
    await stream.write(SERVING)
