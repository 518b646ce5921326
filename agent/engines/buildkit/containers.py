"""Containers beside a build's graph: the engine runs programs in them as long as it is told to.

The engine says `Started` before there is a process, and a second program in a container that does
not run yet ends the whole container, or hangs. So whoever starts the first waits until the machine
shows it (`machine.first_process`) before anything else is asked of the container.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio

from agent.engines.buildkit import llb
from agent.engines.buildkit.build import Build, BuildFailedError, engine_error
from agent.engines.buildkit.failures import EngineError
from agent.engines.buildkit.pb import gateway_pb2, ops_pb2

RELEASE_SECONDS = 10.0
"""How long the engine may take to end a container; the build's end ends it, too."""
_OUTPUTS = (1, 2)

Take = Callable[[bytes], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    code: int
    lost: EngineError | None = None
    """The engine is away, or the build is over."""
    error: str = ""
    """What the engine says where the program could not be run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    arguments: Sequence[str]
    environment: Mapping[str, str]
    directory: str
    user: llb.Owner
    privileged: bool = False


class Container:
    """Use `open_container`."""

    def __init__(self, build: Build, container_id: str) -> None:
        self._build = build
        self.id = container_id
        self._running: list[asyncio.Task[Ended]] = []

    def start(self, program: Program, take: Take) -> asyncio.Task[Ended]:
        """Run a program; both its streams are given to `take`. The task ends with it; an engine
        that is gone ends it with an `error`."""
        task = asyncio.create_task(self._follow(program, take))
        self._running.append(task)
        return task

    async def _follow(self, program: Program, take: Take) -> Ended:
        call = self._build.process_stream()
        try:
            await call.write(self._init(program))
            while (message := await call.read()) is not grpc.aio.EOF:
                if message.HasField("File") and message.File.Data:
                    take(message.File.Data)
                if message.HasField("Exit"):
                    ended = Ended(code=message.Exit.Code, error=message.Exit.Error.message)
                    await self._rest(call, take)
                    return ended
        except grpc.aio.AioRpcError as error:
            return Ended(code=255, lost=engine_error(error))
        finally:
            call.cancel()
        return Ended(code=255, error="the engine said nothing of its end")

    @staticmethod
    async def _rest(call: Any, take: Take) -> None:
        """What it wrote last may come after its exit code."""
        ends = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RELEASE_SECONDS):
                while ends < len(_OUTPUTS):
                    message = await call.read()
                    if message is grpc.aio.EOF or message.HasField("Done"):
                        return
                    if message.HasField("File"):
                        ends += message.File.EOF
                        if message.File.Data:
                            take(message.File.Data)

    def _init(self, program: Program) -> gateway_pb2.ExecMessage:
        user = f"{program.user.uid}:{program.user.gid}"
        meta = ops_pb2.Meta(
            args=program.arguments,
            env=[f"{name}={value}" for name, value in program.environment.items()],
            cwd=program.directory,
            user=user,
        )
        # No standard input: with one, an older engine tells no end before that of the input.
        security = ops_pb2.INSECURE if program.privileged else ops_pb2.SANDBOX
        init = gateway_pb2.InitMessage(
            ContainerID=self.id, Meta=meta, Fds=_OUTPUTS, Security=security
        )
        return gateway_pb2.ExecMessage(ProcessID=secrets.token_hex(8), Init=init)

    async def stopped(self) -> None:
        """When all that was started has ended and told so."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RELEASE_SECONDS):
                await asyncio.gather(*self._running, return_exceptions=True)
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)


@asynccontextmanager
async def open_container(
    build: Build,
    root: str,
    *,
    container_id: str,
    hostname: str,
    hosts: Mapping[str, str],
    platform: llb.Platform,
) -> AsyncIterator[Container]:
    """A container over the filesystem `root` meanwhile. `hosts` are addresses by name, and
    `container_id` letters and digits: by it the container is known on the engine's machine.

    Whatever ends the context, what ran in it is over then. Raises BuildFailedError.
    """
    request = gateway_pb2.NewContainerRequest(
        ContainerID=container_id,
        Mounts=[ops_pb2.Mount(dest="/", resultID=root)],
        platform=platform.message(),
        hostname=hostname,
        extraHosts=[ops_pb2.HostIP(Host=name, IP=ip) for name, ip in hosts.items()],
    )
    await build.call("NewContainer", request, gateway_pb2.NewContainerResponse)
    container = Container(build, container_id)
    try:
        yield container
    finally:
        release = gateway_pb2.ReleaseContainerRequest(ContainerID=container_id)
        # What was killed by it is told as its error.
        with contextlib.suppress(BuildFailedError):
            await build.call(
                "ReleaseContainer",
                release,
                gateway_pb2.ReleaseContainerResponse,
                timeout=RELEASE_SECONDS,
            )
        await container.stopped()
