"""What a step leaves: from its workspace in the engine to the agent's folder."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from agent.engines.buildkit import llb
from agent.engines.buildkit.build import Build, BuildFailedError
from agent.engines.buildkit.failures import (
    PathTooLongError,
    StepNotRunError,
    is_gone,
    raise_if_too_long,
)
from agent.engines.buildkit.linked_outputs import patterns_through_links
from agent.engines.buildkit.output_taker import OutputTaker
from agent.engines.buildkit.session_calls import Call
from agent.engines.buildkit.step_graph import collected
from agent.engines.buildkit.step_record import ScriptEnd, read_sockets
from agent.engines.buildkit.unpack import engine_patterns
from agent.engines.outputs import Collected, collect_outputs
from agent.engines.protocol import StepRequest
from pipelines_schema.paths import WORKSPACE

DELIVERY_SECONDS = 1800.0
"""The most that collecting the outputs may take."""


class StepOutputs:
    def __init__(self, request: StepRequest) -> None:
        self._request = request
        self._include = engine_patterns(request.output_paths)
        self._taker = OutputTaker(request.scratch / "collected")

    @property
    def wanted(self) -> bool:
        """Whether the engine is asked for any."""
        return bool(self._include)

    async def take(self, stream: Call) -> None:
        """Answer the engine's call that brings them."""
        await self._taker.serve(stream)

    async def bring(
        self, build: Build, ref: str, workspace: llb.Output, ended: ScriptEnd
    ) -> Collected:
        """End the build with them. `ref`: the record of the script's end.

        Raises StepNotRunError, and BuildFailedError if the engine is gone.
        """
        if not self.wanted:
            await build.finish("")
            return await self._collect({})
        sockets = await read_sockets(build, ref)
        try:
            await self._deliver(build, workspace, ended)
        except PathTooLongError as error:
            return Collected(unkept=(str(error),))
        return await self._collect({**self._taker.stands_for, **sockets})

    async def _deliver(self, build: Build, workspace: llb.Output, ended: ScriptEnd) -> None:
        request = self._request
        try:
            async with asyncio.timeout(DELIVERY_SECONDS):
                ref = await build.solve(llb.definition(workspace))
                linked = await patterns_through_links(build, ref, request.output_paths)
                include = dict.fromkeys((*self._include, *linked))
                outputs = collected(workspace, tuple(include), unlike=request.attempt_id)
                await build.finish(await build.solve(llb.definition(outputs)))
                await self._taker.settled()
        except BuildFailedError as error:
            if is_gone(error.error):
                raise
            raise_if_too_long(error.error)
            raise _not_delivered(ended, str(error)) from error
        except TimeoutError as error:
            raise _not_delivered(ended, f"it took over {DELIVERY_SECONDS:.0f} seconds") from error
        if self._taker.failure is not None:
            raise _not_delivered(ended, str(self._taker.failure))

    async def _collect(self, types: Mapping[str, int]) -> Collected:
        request, folder = self._request, self._taker.folder
        if not request.output_paths:
            return Collected()
        folder.mkdir(exist_ok=True)
        return await asyncio.to_thread(
            collect_outputs,
            folder,
            request.output_paths,
            request.outputs,
            seen_as=WORKSPACE,
            types=types,
        )


def _not_delivered(ended: ScriptEnd, why: str) -> StepNotRunError:
    return StepNotRunError(
        f"the script ended with exit code {ended.exit_code}, "
        f"but its outputs could not be collected: {why}"
    )
