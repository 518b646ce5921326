"""What a step of a chain can't cost less than: a request, a durable commit, a start of bash.

A server of its own answers each call once SQLite has it on the disk, as the coordinator does; the
caller runs an empty script and reports it, as the agent does. Nothing is decided, checked or kept.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing.connection
import os
import sqlite3
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from aiohttp import web

SCRIPT = ("bash", "-e", "-o", "pipefail", "-c", "true")


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    seconds: Sequence[float]
    """Of each step."""
    server_cpu: float
    """Seconds of processor time for each step."""


def bare_steps(count: int) -> Floor:
    """So many steps, one after another."""
    with tempfile.TemporaryDirectory(prefix="pushrod-floor-") as folder:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        server = context.Process(target=_serve, args=(theirs, Path(folder) / "floor.db"))
        server.start()
        try:
            return asyncio.run(_call(f"http://127.0.0.1:{ours.recv()}", count))
        finally:
            server.terminate()
            server.join()


async def _call(url: str, count: int) -> Floor:
    taken = []
    async with aiohttp.ClientSession() as session:
        await _step(session, url)
        cpu = await _step(session, url)
        for _ in range(count):
            began = time.perf_counter()
            spent = await _step(session, url)
            taken.append(time.perf_counter() - began)
    return Floor(seconds=taken, server_cpu=(spent - cpu) / count)


async def _step(session: aiohttp.ClientSession, url: str) -> float:
    """The server's processor time so far."""
    pid = os.posix_spawnp(SCRIPT[0], SCRIPT, os.environ)
    await asyncio.to_thread(os.waitpid, pid, 0)
    async with session.post(url, json={"status": "succeeded", "exitCode": 0}) as answer:
        return float((await answer.json())["cpu"])


def _serve(pipe: multiprocessing.connection.Connection, path: Path) -> None:
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    database.execute("CREATE TABLE steps (report TEXT)")

    async def take(request: web.Request) -> web.Response:
        report = await request.json()
        database.execute("INSERT INTO steps VALUES (?)", [json.dumps(report)])
        return web.json_response({"cpu": time.process_time()})

    async def serve() -> None:
        app = web.Application()
        app.router.add_post("/", take)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        pipe.send(runner.addresses[0][1])
        await asyncio.Event().wait()

    asyncio.run(serve())
