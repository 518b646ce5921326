"""The engine's reports of a Dockerfile's build → lines of a step's log. Pure.

Each instruction is announced by the name that BuildKit gives it (`[build 2/3] RUN make`); what it
writes follows, each line behind the part in brackets, since instructions may run side by side.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from agent.engines.buildkit.pb import control_pb2
from pipelines_schema.log_frames import Stream

MAX_LINE_BYTES = 64 * 1024
"""A longer line is passed on in pieces."""
WORTH_TELLING_SECONDS = 1.0
_NAME = re.compile(r"(?P<label>\[[^\]]*\]) *(?P<instruction>\S*)")
_CACHED_BECAUSE = {
    "FROM": "the engine has this image",
    "RUN": "neither the command nor anything before it has changed",
    "COPY": "neither the files nor anything before them has changed",
    "ADD": "neither the files nor anything before them has changed",
}
_CACHED = "neither it nor anything before it has changed"

Piece = tuple[Stream, bytes]


@dataclass(slots=True)
class _Instruction:
    name: str
    announced: bool = False
    finished: bool = False
    open_lines: dict[Stream, bytes] = field(default_factory=dict)

    @property
    def label(self) -> str:
        found = _NAME.match(self.name)
        return found["label"] if found else f"[{self.name}]"

    @property
    def why_cached(self) -> str:
        found = _NAME.match(self.name)
        return _CACHED_BECAUSE.get(found["instruction"].upper() if found else "", _CACHED)


@dataclass(slots=True)
class DockerfileLog:
    """Follows one build. `take` and `end` give what is to be written, in order."""

    dockerfile: str
    """How warnings name the file."""
    _instructions: dict[str, _Instruction] = field(default_factory=dict)

    def take(self, report: control_pb2.StatusResponse) -> Iterator[Piece]:
        for vertex in report.vertexes:
            # Only a beginning: its end may stand in the same report as its output.
            yield from self._begun(vertex)
        for log in report.logs:
            stream = Stream.STDERR if log.stream == 2 else Stream.STDOUT
            yield from self._written(self._instruction(log.vertex), stream, log.msg)
        for vertex in report.vertexes:
            yield from self._ended(vertex)
        for warning in report.warnings:
            yield Stream.STDERR, self._warning(warning)

    def end(self) -> Iterator[Piece]:
        """What was written without a line end."""
        for instruction in self._instructions.values():
            yield from _unfinished(instruction)

    def _instruction(self, digest: str, name: str = "") -> _Instruction:
        found = self._instructions.get(digest)
        if found is None:
            found = self._instructions[digest] = _Instruction(_one_line(name) or "build")
        return found

    def _begun(self, vertex: control_pb2.Vertex) -> Iterator[Piece]:
        instruction = self._instruction(vertex.digest, vertex.name)
        # What is begun and ended at once was only looked up in the cache.
        running = vertex.HasField("started") and not vertex.HasField("completed")
        if running and not vertex.cached:
            yield from _announced(instruction)

    def _ended(self, vertex: control_pb2.Vertex) -> Iterator[Piece]:
        instruction = self._instruction(vertex.digest, vertex.name)
        if instruction.finished or not vertex.HasField("completed"):
            return
        if vertex.cached:
            instruction.finished = True
            yield _line(f"{instruction.name}: CACHED: {instruction.why_cached}")
            return
        if vertex.error:
            instruction.finished = True
            yield from _announced(instruction)
            yield from _unfinished(instruction)
            text = f"{instruction.label} ERROR: {_one_line(vertex.error)}"
            yield Stream.STDERR, f"{text}\n".encode()
        elif instruction.announced:
            yield from _unfinished(instruction)
            seconds = vertex.completed.ToNanoseconds() - vertex.started.ToNanoseconds()
            if seconds >= WORTH_TELLING_SECONDS * 1e9:
                instruction.finished = True
                yield _line(f"{instruction.label} took {seconds / 1e9:.1f} s")

    def _written(self, instruction: _Instruction, stream: Stream, data: bytes) -> Iterator[Piece]:
        yield from _announced(instruction)
        *lines, rest = (instruction.open_lines.pop(stream, b"") + data).split(b"\n")
        prefix = f"{instruction.label} ".encode()
        whole = b"".join(prefix + line + b"\n" for line in lines)
        if len(rest) > MAX_LINE_BYTES:
            whole, rest = whole + prefix + rest + b"\n", b""
        if rest:
            instruction.open_lines[stream] = rest
        if whole:
            yield stream, whole

    def _warning(self, warning: control_pb2.VertexWarning) -> bytes:
        line = f":{warning.ranges[0].start.line}" if warning.ranges else ""
        text = _one_line(warning.short.decode(errors="replace"))
        return f"warning: {self.dockerfile}{line}: {text}\n".encode()


def _announced(instruction: _Instruction) -> Iterator[Piece]:
    if not instruction.announced:
        instruction.announced = True
        yield _line(instruction.name)


def _unfinished(instruction: _Instruction) -> Iterator[Piece]:
    for stream, rest in instruction.open_lines.items():
        yield stream, f"{instruction.label} ".encode() + rest + b"\n"
    instruction.open_lines = {}


def _line(text: str) -> Piece:
    return Stream.STDOUT, f"{text}\n".encode()


def _one_line(text: str) -> str:
    return " ".join(text.split())
