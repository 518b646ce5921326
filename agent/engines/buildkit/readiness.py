"""Whether a service may be used: asked from within its own network, so that no firewall and no
address of ours matters."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from urllib.parse import urlsplit

from agent.engines.buildkit import machine

PAUSE_SECONDS = 0.05
ANSWER_SECONDS = 5.0
STATUS_BYTES = 1024
READY = "pushrod-ready"
# A program that exits non-zero in a container ends the container: this one tries until it is 0.
_TRY = """\
until "$@"; do sleep 0.2 2>/dev/null || sleep 1 || exit 0; done
"""


def trying(command: list[str]) -> list[str]:
    """A program that ends once the command has succeeded."""
    return ["sh", "-c", _TRY, "sh", *command]


async def takes_connections(process: int, address: str, port: int) -> None:
    """Return once the port takes a connection."""
    while True:
        if await connects(process, address, port):
            return
        await asyncio.sleep(PAUSE_SECONDS)


async def connects(process: int, address: str, port: int) -> bool:
    try:
        with machine.socket_in(process) as made:
            made.setblocking(False)
            async with asyncio.timeout(ANSWER_SECONDS):
                await asyncio.get_running_loop().sock_connect(made, (address, port))
            return True
    except (OSError, TimeoutError):
        return False


async def answers(process: int, address: str, url: str, said: list[str]) -> None:
    """Return once the URL answers with a status from 200 to 399; `said` has its last answer."""
    while True:
        if await is_well(process, address, url, said):
            return
        await asyncio.sleep(PAUSE_SECONDS)


async def is_well(process: int, address: str, url: str, said: list[str]) -> bool:
    parts = urlsplit(url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    asked = f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n"
    try:
        with machine.socket_in(process) as made:
            made.setblocking(False)
            async with asyncio.timeout(ANSWER_SECONDS):
                loop = asyncio.get_running_loop()
                await loop.sock_connect(made, (address, parts.port or 80))
                await loop.sock_sendall(made, asked.encode())
                line = await _first_line(loop, made)
    except (OSError, TimeoutError) as error:
        said[:] = [str(error) or "no answer"]
        return False
    words = line.split()
    said[:] = [line]
    return len(words) > 1 and words[0].startswith("HTTP/") and words[1][:1] in ("2", "3")


async def _first_line(loop: asyncio.AbstractEventLoop, made: socket.socket) -> str:
    data = b""
    while b"\n" not in data and len(data) < STATUS_BYTES:
        piece = await loop.sock_recv(made, STATUS_BYTES)
        if not piece:
            break
        data += piece
    with contextlib.suppress(ValueError):
        return data.split(b"\n")[0].decode("latin-1").strip()
    return ""
