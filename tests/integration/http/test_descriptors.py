"""A coordinator that comes near the end of its descriptors, in a process of its own."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

MOST_OPEN = 64
IDLE_CLIENTS = 120
START_SECONDS = 60
ASK = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
LOG_IN = b'{"email": "anna@example.org", "password": "wrong"}'

Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True, slots=True)
class Crowded:
    port: int
    log: Path

    async def connect(self, sent: bytes = b"") -> Client:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(sent)
        await writer.drain()
        return reader, writer


@pytest.fixture
async def crowded(tmp_path: Path) -> AsyncIterator[Crowded]:
    async with started(tmp_path) as coordinator:
        yield coordinator


@asynccontextmanager
async def started(folder: Path) -> AsyncIterator[Crowded]:
    log = folder / "log"
    command = f'ulimit -n {MOST_OPEN} && exec "$0" -m pushrod coordinator "$@"'
    options = ["--data", str(folder / "data"), "--listen", "127.0.0.1:0"]
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            "bash", "-c", command, sys.executable, *options,
            stdout=asyncio.subprocess.PIPE, stderr=errors,
        )  # fmt: skip
    try:
        assert process.stdout is not None
        async with asyncio.timeout(START_SECONDS):
            ready = await process.stdout.readline()
        found = re.fullmatch(rb"ready http://127\.0\.0\.1:(\d+)\n", ready)
        assert found, (ready, log.read_text())
        yield Crowded(int(found[1]), log)
    finally:
        process.terminate()
        await process.wait()


async def test_idle_connections_give_way_to_those_that_ask(crowded: Crowded) -> None:
    head = b"POST /api/v1/auth/login HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    head += b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(LOG_IN)
    busy, busy_writer = await crowded.connect(head + LOG_IN[:1])
    idle = [await crowded.connect(ASK if number % 2 else b"") for number in range(IDLE_CLIENTS)]
    async with asyncio.timeout(60):
        reader, asking = await crowded.connect(ASK)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        # The first was idle for longest, the last is not.
        assert await idle[0][0].read() == b""
        last, last_writer = idle[-2]
        last_writer.write(ASK)
        assert (await last.readline()).startswith(b"HTTP/1.1 200")
        # One in the middle of its request is not idle.
        busy_writer.write(LOG_IN[1:])
        assert (await busy.readline()).startswith(b"HTTP/1.1 401")
    for writer in [asking, busy_writer, *(one for _, one in idle)]:
        writer.transport.abort()
    log = crowded.log.read_text()
    assert "Traceback" not in log
    assert log.count("can't be accepted") <= 1
