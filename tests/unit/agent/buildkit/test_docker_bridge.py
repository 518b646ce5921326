"""The bridge to a Docker API socket, cancelled and closed in the middle of things."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import tempfile
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

import pytest

from agent.engines.buildkit.transport import DockerBridge
from tests.interruption import cancelled_at


@pytest.fixture
async def docker_socket() -> AsyncIterator[str]:
    """Of one that takes every upgrade, and then echoes."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 101 UPGRADED\r\n\r\n")
            while given := await reader.read(1000):
                writer.write(given)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "docker.sock"))
        async with await asyncio.start_unix_server(answer, path):
            yield path


async def test_bytes_go_to_the_engine_and_back(docker_socket: str) -> None:
    assert await echoed(docker_socket) == b"abc"


async def echoed(docker_socket: str) -> bytes:
    async with DockerBridge(docker_socket) as bridge:
        reader, writer = await asyncio.open_unix_connection(bridge.path)
        try:
            writer.write(b"abc")
            return await reader.readexactly(3)
        finally:
            writer.close()


async def test_a_cancel_at_any_moment_leaves_no_socket(docker_socket: str) -> None:
    for moment in count():
        with nothing_left_open() as left:
            cancelled = await cancelled_at(moment, echoed(docker_socket))
            await settled()
        assert left == [], moment
        if not cancelled:
            break
    assert moment > 1


@pytest.mark.parametrize("turns", range(8))
async def test_one_closed_just_when_it_is_dialled_ends_the_connection(
    docker_socket: str, turns: int
) -> None:
    with nothing_left_open() as left, socket.socket(socket.AF_UNIX) as client:
        async with DockerBridge(docker_socket) as bridge:
            client.connect(bridge.path)
            for _ in range(turns):
                await asyncio.sleep(0)
        await settled()
        client.setblocking(False)
        with suppress(ConnectionResetError):
            assert client.recv(1) == b""
    assert left == []


@contextmanager
def nothing_left_open() -> Iterator[list[str]]:
    """Gives what is: sockets that Python closed since nobody had, and those that are still open."""
    gc.collect()  # of what others have left
    left: list[str] = []
    before = open_sockets()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", ResourceWarning)
        yield left
        gc.collect()
    left += [str(one.message) for one in told]
    left += sorted(open_sockets() - before)


def open_sockets() -> set[str]:
    links = []
    for descriptor in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the one by which they were listed
            links.append(os.readlink(f"/proc/self/fd/{descriptor}"))
    return {link for link in links if link.startswith("socket:")}


async def settled() -> None:
    """The other end has seen what we have closed."""
    for _ in range(20):
        await asyncio.sleep(0)
