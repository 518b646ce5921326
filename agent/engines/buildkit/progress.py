"""What the engine's progress reports mean for a step's log. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from agent.engines.buildkit.pb import control_pb2
from pipelines_schema.log_frames import Stream

CLIPPED = re.compile(rb"\n\[output clipped, log limit [^\]\n]{1,40} reached\]\n")


@dataclass(slots=True, kw_only=True)
class StepProgress:
    """Follows one vertex through the engine's reports.

    It goes by the vertex's name, which is unique: a newer engine may rewrite operations before it
    runs them, and reports them by digests of its own.
    """

    name: str
    greeting: bytes
    """What the process writes first, to be taken off its output: it runs and can be killed."""
    digests: set[str] = field(default_factory=set)
    running: bool = False
    completed: bool = False
    error: str = ""

    def take(self, report: control_pb2.StatusResponse) -> Iterator[tuple[Stream, bytes]]:
        """Note what the report says of the vertex; yield its new output in order."""
        for vertex in report.vertexes:
            if vertex.name == self.name:
                self.digests.add(vertex.digest)
                self.completed = self.completed or vertex.HasField("completed")
                self.error = vertex.error or self.error
        for log in report.logs:
            if log.vertex in self.digests and log.msg:
                stream = Stream.STDERR if log.stream == 2 else Stream.STDOUT
                data = log.msg if stream is Stream.STDERR else self._without_greeting(log.msg)
                if data:
                    yield stream, data

    def _without_greeting(self, data: bytes) -> bytes:
        size = min(len(data), len(self.greeting))
        if data[:size] != self.greeting[:size]:
            return data
        self.greeting = self.greeting[size:]
        self.running = self.running or not self.greeting
        return data[size:]


@dataclass(slots=True, kw_only=True)
class ClipFilter:
    """Passes one stream on up to where the engine may have clipped it.

    The engine puts its notice into the stream, and may go on after a gap. A script can print the
    same words: both look alike here, so from the first notice on nothing passes, and the rest is
    to be read from the record at byte `passed`.
    """

    passed: int = 0
    clipped: bool = False

    def take(self, data: bytes) -> bytes:
        """The part of `data` that is surely the script's own."""
        if self.clipped:
            return b""
        # The engine writes its notice whole into one piece, so no piece needs to be held back.
        notice = CLIPPED.search(data)
        if notice:
            self.clipped = True
            data = data[: notice.start()]
        self.passed += len(data)
        return data
