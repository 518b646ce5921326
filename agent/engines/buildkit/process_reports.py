"""What the engine tells of a step's process while it runs: how far it is, and its output."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from agent.engines.buildkit.build import Build
from agent.engines.buildkit.pb import control_pb2
from agent.engines.buildkit.progress import ClipFilter, StepProgress
from agent.engines.buildkit.step_graph import RECORD_FOLDER
from agent.engines.buildkit.wrapper import OUTPUT_FILE
from agent.engines.protocol import OutputSink
from pipelines_schema.log_frames import Stream

LATE_REPORT_SECONDS = 5.0
_NO_COPY = (
    "the engine clipped the step's output and the image has no `tee` to keep a copy of it: "
    "lift the engine's log limit or use another image"
)


class ProcessReports:
    """`take` is called with each report, `expect` before the process is begun."""

    def __init__(self, output: OutputSink, *, keeps_copy: bool) -> None:
        """With `keeps_copy` the engine is not trusted to report all output: the wrapper's copy in
        the record completes it."""
        self._output = output
        self._keeps_copy = keeps_copy
        self._progress: StepProgress | None = None
        self._filter = ClipFilter()
        self._reported = asyncio.Event()

    @property
    def running(self) -> bool:
        """Whether the process was begun."""
        return self._progress is not None and self._progress.running

    def expect(self, *, name: str, greeting: bytes) -> None:
        """What is reported under this name is the process; it says `greeting` first."""
        self._progress = StepProgress(name=name, greeting=greeting)

    def take(self, report: control_pb2.StatusResponse) -> None:
        if self._progress is None:
            return
        for stream, data in self._progress.take(report):
            passed = self._filter.take(data) if self._keeps_copy else data
            if passed:
                self._output.write(stream, passed)
        self._reported.set()

    async def until(
        self, solving: asyncio.Task[str] | None, reached: Callable[[StepProgress], bool]
    ) -> None:
        """Wait until the reports say so or the call is done."""
        while self._progress is not None and not reached(self._progress):
            self._reported.clear()
            waiting = asyncio.create_task(self._reported.wait())
            try:
                tasks = {waiting, solving} if solving else {waiting}
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                waiting.cancel()
            if solving in done:
                return

    async def complete_output(self, build: Build, ref: str) -> list[str]:
        """Write what the engine's reports lack of the output, from the copy in the record."""
        size = (await build.file_sizes(ref, f"/{RECORD_FOLDER}")).get(OUTPUT_FILE)
        if size is None:
            return [_NO_COPY] if self._filter.clipped else []
        await self._await_reports(size)
        # Whatever is reported from now on stands in the copy, too.
        self._filter.clipped = True
        if self._filter.passed < size:
            copy = f"/{RECORD_FOLDER}/{OUTPUT_FILE}"
            async for data in build.read_from(ref, copy, self._filter.passed):
                self._output.write(Stream.STDOUT, data)
        return []

    async def _await_reports(self, size: int) -> None:
        """Let reports that are on their way arrive, as they carry the times of the lines."""
        try:
            async with asyncio.timeout(LATE_REPORT_SECONDS):
                while self._filter.passed < size and not self._filter.clipped:
                    self._reported.clear()
                    await self._reported.wait()
        except TimeoutError:
            return
