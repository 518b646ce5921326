"""The session's answer to a mount that wants a secret."""

from __future__ import annotations

from collections.abc import Mapping

import grpc

from agent.engines.buildkit.pb import secrets_pb2
from agent.engines.buildkit.session_calls import Call


async def give_secret(stream: Call, secrets: Mapping[str, str]) -> None:
    """Answer a GetSecret call."""
    asked = secrets_pb2.GetSecretRequest.FromString(await stream.question())
    value = secrets.get(asked.ID)
    if value is None:
        await stream.abort(grpc.StatusCode.NOT_FOUND, f"no secret {asked.ID}")
    answer = secrets_pb2.GetSecretResponse(data=value.encode())
    await stream.write(answer.SerializeToString())
