"""How the wrapper in a step's container hears that the script is to end.

The engine gives a container a socket that is forwarded to the session's client: meant for SSH
agents, but it carries any bytes. Ours carries one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from agent.engines.buildkit.pb import control_pb2
from agent.engines.buildkit.session import CHECK_FORWARDING, FORWARD_SOCKET
from agent.engines.buildkit.session_calls import Call, Handler

MOST_LISTENERS = 8


class EndChannel:
    """Of one attempt."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()
        self._listening = 0

    def ask(self) -> None:
        self._asked.set()

    def handlers(self) -> Mapping[str, Handler]:
        return {CHECK_FORWARDING: self._check, FORWARD_SOCKET: self._forward}

    async def _check(self, stream: Call) -> None:
        await stream.question()
        await stream.write(b"")

    async def _forward(self, stream: Call) -> None:
        # The script can connect as well, but not without end.
        if self._listening == MOST_LISTENERS:
            return
        self._listening += 1
        await self._asked.wait()
        await stream.write(control_pb2.BytesMessage(data=b"e").SerializeToString())
        while await stream.read():  # until the container has gone
            pass
