"""Logs that many steps write at once, a line at a time: by one coordinator, and by three.

Each append is sent as an agent sends it, on a connection for logs alone, to the coordinator that
the agent reaches; of three coordinators one leads.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from pathlib import Path
from typing import Any

import aiohttp

from pipelines_schema.log_frames import CONTENT_TYPE, FOR_LOGS_ALONE, Frame, Stream, encode
from tests.benchmarks.samples import Row
from tests.benchmarks.waiting_steps import (
    AGENTS,
    Place,
    alone,
    posted,
    processor_seconds,
    queue,
    registered,
    three,
)
from tests.postgres_server import running_postgres_server

SLOTS = 10
"""Of each agent: so many logs are written at once for each."""
APPENDS = 50
"""To each log."""
TEXT = b"x" * 99 + b"\n"


def measure(folder: Path) -> list[Row]:
    folder.mkdir(parents=True)
    with running_postgres_server() as postgres:
        rows = []
        for what, place in (
            ("one coordinator, PostgreSQL", alone(folder / "one", postgres)),
            ("three coordinators, PostgreSQL and S3", three(folder / "three", postgres)),
        ):
            with place as running:
                rows.append(asyncio.run(_measured(what, running)))
    return rows


async def _measured(what: str, place: Place) -> Row:
    headers = {"Authorization": f"Bearer {place.token}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        await queue(session, place.urls[0], builds=2)
        specs = []
        for number in range(AGENTS):
            url, token = await registered(session, place.urls[number % len(place.urls)], number)
            specs += await _accepted(session, url, token)
        before = {name: processor_seconds(pid) for name, pid in place.processes.items()}
        began = time.monotonic()
        await asyncio.gather(*(_written(url, spec) for url, _, spec in specs))
        seconds = time.monotonic() - began
        used = {
            name: (processor_seconds(pid) - before[name]) / (len(specs) * APPENDS) * 1000
            for name, pid in place.processes.items()
        }
        await asyncio.gather(*(_completed(session, *one) for one in specs))
    told = ", ".join(f"{name} {milliseconds:.1f} ms" for name, milliseconds in used.items())
    return Row(
        what=f"{len(specs)} logs at once, {APPENDS} appends each: {what}",
        measured=f"{len(specs) * APPENDS / seconds:.0f} appends/s; processor time of one: {told}",
    )


async def _accepted(
    session: aiohttp.ClientSession, url: str, token: dict[str, str]
) -> list[tuple[str, dict[str, str], dict[str, Any]]]:
    accepted: list[tuple[str, dict[str, str], dict[str, Any]]] = []
    while len(accepted) < SLOTS:
        free = SLOTS - len(accepted)
        polled = await posted(session, f"{url}/api/agents/poll", token, free=free)
        for offer in polled["offers"]:
            step = f"{url}/api/runner/{offer['stepId']}"
            spec = await posted(session, f"{step}/accept", token, epoch=offer["epoch"])
            accepted.append((url, token, spec))
    return accepted


async def _written(url: str, spec: dict[str, Any]) -> None:
    frames = encode([Frame(stream=Stream.STDOUT, time_ms=0, data=TEXT)])
    async with aiohttp.ClientSession() as session:
        for number in range(APPENDS):
            headers = {
                "Authorization": f"Bearer {spec['token']}",
                "Upload-Offset": str(number * len(TEXT)),
                "Content-Type": CONTENT_TYPE,
                "Connection": f"keep-alive, {FOR_LOGS_ALONE}",
            }
            path = f"{url}/api/runner/{spec['stepId']}/log?epoch={spec['epoch']}"
            async with session.patch(path, data=frames, headers=headers) as answer:
                assert answer.status == 204, await answer.text()


async def _completed(
    session: aiohttp.ClientSession, url: str, token: dict[str, str], spec: dict[str, Any]
) -> None:
    await posted(
        session,
        f"{url}/api/runner/{spec['stepId']}/complete",
        token,
        status="success",
        exitCode=0,
        epoch=spec["epoch"],
        logBytes=APPENDS * len(TEXT),
        logSha256=hashlib.sha256(TEXT * APPENDS).hexdigest(),
    )
