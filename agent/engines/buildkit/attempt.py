"""One attempt of a step in one build: from its request to its result."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

from agent.engines.authorities import variables
from agent.engines.buildkit import llb
from agent.engines.buildkit.build import Build, BuildFailedError, open_build
from agent.engines.buildkit.client import Client
from agent.engines.buildkit.end_channel import EndChannel
from agent.engines.buildkit.end_listener import end_listener
from agent.engines.buildkit.failures import (
    EngineError,
    StepNotRunError,
    is_gone,
    process_exit_code,
    step_problem,
)
from agent.engines.buildkit.fence import Fence, FenceError
from agent.engines.buildkit.image_store import Image, ImageStore
from agent.engines.buildkit.images import step_environment
from agent.engines.buildkit.orphans import wrapper_of
from agent.engines.buildkit.pb import control_pb2
from agent.engines.buildkit.process_reports import ProcessReports
from agent.engines.buildkit.registry_logins import RegistryLogins, logins_for
from agent.engines.buildkit.secret_giver import give_secret
from agent.engines.buildkit.service_images import Circumstances, images_of
from agent.engines.buildkit.service_log import StepLog
from agent.engines.buildkit.services import ServiceFailedError, Services, running
from agent.engines.buildkit.session import GIVE_SECRET, SEND_SOURCE, TAKE_OUTPUT, open_session
from agent.engines.buildkit.session_calls import Handler
from agent.engines.buildkit.step_graph import (
    AUTHORITIES,
    StepGraph,
    at_home,
    step_graph,
    unenforced,
)
from agent.engines.buildkit.step_outputs import StepOutputs
from agent.engines.buildkit.step_record import ScriptEnd, read_end, read_limits, read_values
from agent.engines.buildkit.step_sources import StepSources
from agent.engines.buildkit.wrapper import END_SOCKET, SECRETS
from agent.engines.end_request import TOO_LATE
from agent.engines.protocol import Outcome, OutputSink, StepRequest, StepResult

SETUP_SECONDS = 1800.0
"""The most that image and source may take until the script begins."""
LATE_SECONDS = 10.0
"""How long after its timeout the container is killed, if its wrapper can't end the script."""
DEATH_SECONDS = 3.0
"""How long the end of a killed process is awaited."""
GREETING_SECONDS = 5.0
"""How long a killed process that is being started is awaited."""
START_SECONDS = 120.0
"""The most that it may take to start a container whose image and source are there."""
KILLED = 137
_WAS_KILLED = (
    "the container was killed from outside, most likely for lack of memory on the engine's machine"
)


async def run_attempt(
    request: StepRequest,
    output: OutputSink,
    *,
    client: Client,
    platform: llb.Platform,
    images: ImageStore,
    shared_key: str,
    keep_output: bool,
    authorities: str = "",
    unresponsive_seconds: float,
    fence: Fence | None = None,
) -> StepResult:
    """Run it. Raises StepNotRunError, BuildFailedError, grpc.aio.AioRpcError.

    `fence` keeps other attempts from the services. With `keep_output` the engine is not trusted
    to report all output: a copy completes it.
    """
    with contextlib.closing(StepLog(output)) as log:
        attempt = _Attempt(
            request,
            log if request.services else output,
            logins=logins_for(request, client),
            keep_output=keep_output,
            authorities=authorities,
        )
        async with open_session(
            client, shared_key=shared_key, handlers=attempt.handlers()
        ) as session:
            async with open_build(
                client,
                attempt_id=request.attempt_id,
                session=session,
                exporter="tar" if attempt.takes_outputs else "",
                privileged=request.wants_privileges,
                unresponsive_seconds=unresponsive_seconds,
                take_report=attempt.take_report,
            ) as build:
                around = Circumstances(
                    build=build,
                    platform=platform,
                    images=images,
                    logins=attempt.logins,
                    log=log,
                    fence=fence,
                )
                beside = await images_of(request, around)
                image = await images.find_for(build, request, platform, attempt.logins)
                graph = attempt.prepare(image, platform, session)
                if request.services:
                    async with running(request, beside, around) as services:
                        result = await attempt.run_beside(build, graph, services)
                else:
                    result = await attempt.run(build, graph)
                return replace(result, image_digest=image.reference.partition("@")[2] or None)


class _Attempt:
    def __init__(
        self,
        request: StepRequest,
        output: OutputSink,
        *,
        logins: RegistryLogins,
        keep_output: bool,
        authorities: str,
    ) -> None:
        self._request = request
        self._keep_output = keep_output
        self._authorities = authorities
        self.logins = logins
        self._sources = StepSources(request)
        self._outputs = StepOutputs(request)
        self._reports = ProcessReports(output, keeps_copy=keep_output)
        self._channel = EndChannel()
        self._listener: bytes | None = None
        self._services: Services | None = None
        self._is_over = False
        """The script: its services may end from now on."""

    @property
    def takes_outputs(self) -> bool:
        return self._outputs.wanted

    def handlers(self) -> dict[str, Handler]:
        handlers = self.logins.handlers()
        if self._request.brings_files:
            handlers[SEND_SOURCE] = self._sources.send
        if self._outputs.wanted:
            handlers[TAKE_OUTPUT] = self._outputs.take
        if self._request.grace_seconds:
            handlers |= self._channel.handlers()
        if self._request.secrets:
            handlers[GIVE_SECRET] = lambda stream: give_secret(stream, self._request.secrets)
        return handlers

    @property
    def _limits(self) -> llb.Limits | None:
        request = self._request
        if request.memory_bytes is None and request.cpus is None:
            return None
        return llb.Limits(memory_bytes=request.memory_bytes, cpus=request.cpus)

    def prepare(self, image: Image, platform: llb.Platform, session: str) -> StepGraph:
        request = self._request
        owner = image.user.owner
        name = f"step {request.step_name}, attempt {request.attempt_id}"
        source, git = self._sources.tell(session)
        env = {**request.env, **({"PUSHROD_SECRETS": SECRETS} if request.secrets else {})}
        environment = step_environment(
            image.config,
            image.user,
            {**(variables(AUTHORITIES) if self._authorities else {}), **env},
            attempt_id=request.attempt_id,
        )
        if request.grace_seconds:
            self._listener = end_listener(platform.architecture, END_SOCKET)
        graph = step_graph(
            image=image.reference,
            platform=platform,
            owner=owner,
            environment=environment,
            script=request.script,
            source=source,
            git=git,
            secrets=sorted(request.secrets),
            offline=request.offline,
            privileged=request.privileged,
            awaits_services=bool(request.services),
            limits=self._limits,
            cache_mounts=[at_home(mount, environment["HOME"]) for mount in request.cache_mounts],
            timeout_seconds=request.timeout_seconds,
            grace_seconds=request.grace_seconds,
            end_listener=self._listener,
            keep_output=self._keep_output,
            keep_sockets=self._outputs.wanted,
            workdir=request.workdir,
            shell=request.shell,
            authorities=self._authorities,
            description=name,
            unlike=request.attempt_id if request.inputs is not None else "",
        )
        self._reports.expect(name=name, greeting=f"{request.attempt_id}\n".encode())
        return graph

    def take_report(self, report: control_pb2.StatusResponse) -> None:
        self._reports.take(report)

    async def run_beside(self, build: Build, graph: StepGraph, services: Services) -> StepResult:
        """Run it for as long as its services do. Raises ServiceFailedError, and what else keeps
        them from their start."""
        self._services = services
        run = asyncio.create_task(self.run(build, graph))
        death = asyncio.create_task(services.first_end())
        try:
            await asyncio.wait((run, death), return_when=asyncio.FIRST_COMPLETED)
            if run.done() or self._is_over:
                return await run
            raise ServiceFailedError(death.result())
        finally:
            for task in (run, death):
                task.cancel()
            await asyncio.gather(run, death, return_exceptions=True)

    async def run(self, build: Build, graph: StepGraph) -> StepResult:
        try:
            async with asyncio.timeout(SETUP_SECONDS):
                await self._make_inputs(build, graph)
            ref = await self._run_process(build, graph)
        except TimeoutError:
            return self._too_late()
        except BuildFailedError as failure:
            return self._failed(failure.error)
        self._is_over = True
        ended = await read_end(build, ref)
        notes = await self._reports.complete_output(build, ref) if self._keep_output else []
        if self._limits is not None:
            notes += unenforced(self._limits, await read_limits(build, ref))
        if self._services is not None:
            await self._services.end()
        if self._request.end.made:
            await build.finish("")
            return self._result(ended, notes)
        values = await read_values(build, ref, ended)
        collected = await self._outputs.bring(build, ref, graph.workspace, ended)
        result = self._result(ended, [*notes, *collected.notes])
        return replace(result, unkept=(*collected.unkept, *values.unkept), values=values.written)

    async def _make_inputs(self, build: Build, graph: StepGraph) -> None:
        """Fetch the image and the source; may be cancelled at any moment."""
        making = [
            asyncio.create_task(build.solve(llb.definition(needed)))
            for needed in graph.process.inputs
        ]
        try:
            await asyncio.gather(*making)
        finally:
            for one in making:
                one.cancel()
            await asyncio.gather(*making, return_exceptions=True)

    async def _run_process(self, build: Build, graph: StepGraph) -> str:
        """Run the process to its end or, on timeout or cancel, to its death."""
        solving = asyncio.create_task(build.solve(llb.definition(graph.record)))
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._reports.until(solving, lambda progress: progress.running)
            if self._services is not None:
                await self._await_services(self._services, solving)
            with self._heard():
                async with asyncio.timeout(self._most_seconds):
                    return await asyncio.shield(solving)
        finally:
            if not solving.done():
                await self._kill(solving)

    async def _await_services(self, services: Services, solving: asyncio.Task[str]) -> None:
        """Let the process begin once they are ready, for which each has its own time. Raises
        StepNotRunError."""
        ready = asyncio.create_task(services.ready.wait())
        try:
            await asyncio.wait((ready, solving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
        if solving.done():
            return
        process = await asyncio.to_thread(wrapper_of, self._request.attempt_id)
        try:
            if process is None:
                raise FenceError("its process was not found on this machine")
            await services.let_step_begin(process, self._end_script)
        except (FenceError, OSError) as error:
            raise StepNotRunError(f"the step could not be let to its services: {error}") from error

    def _end_script(self) -> None:
        self._is_over = True

    @property
    def _most_seconds(self) -> float:
        """How long the wrapper may take, if it can end the script."""
        return self._request.timeout_seconds + self._request.grace_seconds + LATE_SECONDS

    def _heard(self) -> AbstractContextManager[None]:
        """While the wrapper listens."""
        if self._listener is None:
            return contextlib.nullcontext()
        return self._request.end.heard_by(self._channel.ask)

    async def _kill(self, solving: asyncio.Task[str]) -> None:
        # BuildKit 0.13 forgets a cancel that comes after it began to make the container and before
        # the process runs: that would then run on with nobody to stop it.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GREETING_SECONDS):
                await self._reports.until(solving, lambda progress: progress.running)
        solving.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DEATH_SECONDS):
                await self._reports.until(None, lambda progress: progress.completed)

    def _too_late(self) -> StepResult:
        if not self._reports.running:
            raise StepNotRunError(
                f"the image and the source were not ready after {SETUP_SECONDS:.0f} seconds: "
                "see the engine's network and load"
            )
        return StepResult(
            outcome=Outcome.TIMED_OUT,
            message=TOO_LATE.format(seconds=self._request.timeout_seconds),
            notes=["the container had to be killed: its outputs are lost"],
        )

    def _result(self, ended: ScriptEnd, notes: Sequence[str]) -> StepResult:
        if ended.timed_out:
            return StepResult(
                outcome=Outcome.TIMED_OUT,
                message=TOO_LATE.format(seconds=self._request.timeout_seconds),
                notes=notes,
            )
        if ended.exit_code == KILLED and ended.out_of_memory_kills:
            return StepResult(
                outcome=Outcome.OUT_OF_MEMORY,
                exit_code=ended.exit_code,
                message="the kernel killed the script for lack of memory",
                notes=notes,
            )
        return StepResult(outcome=Outcome.EXITED, exit_code=ended.exit_code, notes=notes)

    def _failed(self, error: EngineError) -> StepResult:
        self._sources.raise_failure()
        code = process_exit_code(error)
        if code == KILLED:
            return StepResult(outcome=Outcome.OUT_OF_MEMORY, exit_code=code, message=_WAS_KILLED)
        if is_gone(error):
            raise BuildFailedError(error)
        raise StepNotRunError(step_problem(self._request.image or "", error))
