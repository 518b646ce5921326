"""What the BuildKit engine itself takes: one bare Solve of one process, nothing of ours around."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Sequence

import grpc.aio

from agent.engines.buildkit import llb
from agent.engines.buildkit.client import Client, connect
from agent.engines.buildkit.pb import control_pb2, ops_pb2

UPTIME_SCRIPT = "read up idle < /proc/uptime; echo $up"
"""The one clock that every shell can read, in hundredths of a second; no process is started."""


def uptime() -> float:
    """What UPTIME_SCRIPT prints, as coarse as it."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * 100) / 100


async def solves(address: str, image: str, count: int) -> list[float]:
    """Seconds of each of `count` Solves of `true`."""
    async with await connect(address) as client:
        platform = await _platform(client)
        seconds = []
        for _ in range(count):
            request = _request(image, platform, ["/bin/true"])
            began = time.perf_counter()
            await client.build(request)
            seconds.append(time.perf_counter() - began)
        return seconds


async def first_lines(address: str, image: str, count: int) -> list[float]:
    """Seconds from asking for a Solve to the time that its process prints."""
    async with await connect(address) as client:
        platform = await _platform(client)
        seconds = []
        for _ in range(count):
            request = _request(image, platform, ["/bin/sh", "-c", UPTIME_SCRIPT])
            began = uptime()
            _, printed = await asyncio.gather(client.build(request), _output(client, request.Ref))
            seconds.append(float(printed) - began)
        return seconds


async def _platform(client: Client) -> llb.Platform:
    workers = await client.workers()
    return llb.Platform(architecture=workers.record[0].platforms[0].Architecture)


def _request(
    image: str, platform: llb.Platform, arguments: Sequence[str]
) -> control_pb2.SolveRequest:
    process = llb.Process(
        arguments=tuple(arguments),
        environment={"PATH": "/usr/bin:/bin"},
        directory="/",
        mounts=[llb.Mount(destination="/", source=llb.image(image, platform), keep=True)],
    )
    vertex = llb.execute(process, platform=platform, description="floor")
    definition = llb.definition(vertex.output())
    definition.metadata[vertex.digest].CopyFrom(ops_pb2.OpMetadata(ignore_cache=True))
    return control_pb2.SolveRequest(Ref=f"floor-{secrets.token_hex(8)}", Definition=definition)


async def _output(client: Client, build: str) -> bytes:
    printed = b""
    call = client.status(build)
    while (report := await call.read()) is not grpc.aio.EOF:
        printed += b"".join(log.msg for log in report.logs)
    return printed
