"""A program that an image starts by itself, run until it ends or is told to.

Nothing of ours is in its container: no shell, no workspace, no wrapper. So its log is what the
engine reports of it, and its end is told by the engine.
"""

from __future__ import annotations

import asyncio
import contextlib

from agent.engines.buildkit import llb
from agent.engines.buildkit.build import Build, BuildFailedError, open_build
from agent.engines.buildkit.client import Client
from agent.engines.buildkit.failures import (
    EngineError,
    StepNotRunError,
    image_problem,
    is_gone,
    process_exit_code,
)
from agent.engines.buildkit.health import UnhealthyError, watch
from agent.engines.buildkit.image_store import Image, ImageStore
from agent.engines.buildkit.images import DEFAULT_PATH
from agent.engines.buildkit.orphans import OWN_COMMAND, kill_containers
from agent.engines.buildkit.pb import control_pb2
from agent.engines.buildkit.progress import StepProgress
from agent.engines.buildkit.registry_logins import RegistryLogins, logins_for
from agent.engines.buildkit.secret_giver import give_secret
from agent.engines.buildkit.session import GIVE_SECRET, open_session
from agent.engines.buildkit.session_calls import Handler
from agent.engines.protocol import Outcome, OutputSink, StepRequest, StepResult

DEATH_SECONDS = 3.0
"""How long the end of a killed program is awaited before it is looked for on this machine."""
KILLED = 137
UNHEALTHY = 1
"""The exit code that stands for a program that was ended because it is not well."""
_ENDED = "the program ended with exit code {code}"
_KILLED = "the program was killed from outside, most likely for lack of memory"
_LATE = "killed after its timeout of {seconds:g} seconds"


async def run_program(
    request: StepRequest,
    output: OutputSink,
    *,
    client: Client,
    platform: llb.Platform,
    images: ImageStore,
    unresponsive_seconds: float,
) -> StepResult:
    """Run it. Raises StepNotRunError, BuildFailedError, grpc.aio.AioRpcError."""
    program = _Program(request, output, logins_for(request, client))
    async with (
        open_session(client, shared_key=request.attempt_id, handlers=program.handlers()) as session,
        open_build(
            client,
            attempt_id=request.attempt_id,
            session=session,
            unresponsive_seconds=unresponsive_seconds,
            take_report=program.take_report,
        ) as build,
    ):
        image = await images.find_for(build, request, platform, program.logins)
        return await program.run(build, program.process(image, platform))


class _Program:
    def __init__(self, request: StepRequest, output: OutputSink, logins: RegistryLogins) -> None:
        self._request = request
        self._output = output
        self.logins = logins
        name = f"program {request.step_name}, attempt {request.attempt_id}"
        self._progress = StepProgress(name=name, greeting=b"")
        self._reported = asyncio.Event()

    def handlers(self) -> dict[str, Handler]:
        handlers = self.logins.handlers()
        if self._request.secrets:
            handlers[GIVE_SECRET] = lambda stream: give_secret(stream, self._request.secrets)
        return handlers

    def take_report(self, report: control_pb2.StatusResponse) -> None:
        for stream, data in self._progress.take(report):
            self._output.write(stream, data)
        self._reported.set()

    def process(self, image: Image, platform: llb.Platform) -> llb.Vertex:
        request = self._request
        if not image.config.arguments:
            raise StepNotRunError(
                f"image {request.image!r} starts nothing by itself: give it a CMD or an ENTRYPOINT"
            )
        return llb.execute(
            llb.Process(
                arguments=image.config.arguments,
                environment=_environment(image, request),
                directory=image.config.directory,
                user=image.user.owner,
                offline=request.offline,
                secret_variables=sorted(request.secrets),
                # Kept, though nobody wants it: without an output the root would be read-only.
                mounts=[
                    llb.Mount(
                        destination="/", source=llb.image(image.reference, platform), keep=True
                    )
                ],
            ),
            platform=platform,
            description=self._progress.name,
        )

    async def run(self, build: Build, process: llb.Vertex) -> StepResult:
        solving = asyncio.create_task(build.solve(llb.definition(process.output())))
        watching = asyncio.create_task(self._watch())
        try:
            async with asyncio.timeout(self._request.timeout_seconds):
                await asyncio.wait((solving, watching), return_when=asyncio.FIRST_COMPLETED)
            # What ended by itself says more of its end than what was asked of it meanwhile.
            await (solving if solving.done() else watching)
            await build.finish("")
        except UnhealthyError as error:
            return StepResult(outcome=Outcome.EXITED, exit_code=UNHEALTHY, message=str(error))
        except TimeoutError:
            message = _LATE.format(seconds=self._request.timeout_seconds)
            return StepResult(outcome=Outcome.TIMED_OUT, message=message)
        except BuildFailedError as failure:
            return self._failed(failure.error)
        finally:
            watching.cancel()
            if not solving.done():
                await self._kill(solving)
            await asyncio.gather(watching, return_exceptions=True)
        return StepResult(outcome=Outcome.EXITED, exit_code=0)

    async def _watch(self) -> None:
        """For ever, where nothing is to be asked. Raises UnhealthyError, StepNotRunError."""
        check, tell = self._request.health, self._request.tell_healthy
        if check is None or tell is None:
            await asyncio.Event().wait()
        else:
            await watch(check, self._request.attempt_id, tell)

    async def _kill(self, solving: asyncio.Task[str]) -> None:
        """The engine kills a process whose call is cancelled. One that it was just starting it may
        forget: that is killed here."""
        solving.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DEATH_SECONDS):
                while not self._progress.completed:
                    self._reported.clear()
                    await self._reported.wait()
        if not self._progress.completed:
            await asyncio.to_thread(kill_containers, self._request.attempt_id)

    def _failed(self, error: EngineError) -> StepResult:
        code = process_exit_code(error)
        if code == KILLED:
            return StepResult(outcome=Outcome.OUT_OF_MEMORY, exit_code=code, message=_KILLED)
        if code is not None:
            message = _ENDED.format(code=code)
            return StepResult(outcome=Outcome.EXITED, exit_code=code, message=message)
        if is_gone(error):
            raise BuildFailedError(error)
        image = self._request.image or ""
        if "failed to resolve source metadata" in error.details:
            raise StepNotRunError(image_problem(image, error))
        raise StepNotRunError(f"the engine could not start {image!r}: {error.details}")


def _environment(image: Image, request: StepRequest) -> dict[str, str]:
    """The request's variables over the image's. The attempt's id makes the operation unlike any
    other, so that the engine neither remembers its result nor shares it."""
    name, _, value = OWN_COMMAND.partition("=")
    return {
        "PATH": DEFAULT_PATH,
        "HOME": image.user.home,
        **image.config.environment,
        **request.env,
        "PUSHROD_ATTEMPT_ID": request.attempt_id,
        name: value,
    }
