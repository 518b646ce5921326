"""What services write, as lines of their step's log."""

from __future__ import annotations

from collections import deque

from agent.engines.protocol import OutputSink
from pipelines_schema.log_frames import Stream

MAX_SHOWN_BYTES = 4 * 1024 * 1024
"""Of one service: a step's own log is not to be lost among its services'."""
MAX_LINE_BYTES = 16 * 1024
"""A longer line is shown as several."""
MAX_HELD_BYTES = 64 * 1024
"""What waits for the end of a line that the step is writing."""
LAST_LINES = 20
LAST_BYTES = 2000


class StepLog:
    """A step's sink that lets others write lines, which never stand within one of the step's."""

    def __init__(self, output: OutputSink) -> None:
        self._output = output
        self._at_start = True
        self._held: list[bytes] = []
        self._held_bytes = 0

    def write(self, stream: Stream, data: bytes) -> None:
        if not data:
            return
        if self._held and b"\n" in data:
            head, _, data = data.partition(b"\n")
            self._output.write(stream, head + b"\n")
            self._release()
        if data:
            self._output.write(stream, data)
            self._at_start = data.endswith(b"\n")

    def write_lines(self, lines: bytes) -> None:
        """Whole lines."""
        self._held.append(lines)
        self._held_bytes += len(lines)
        if self._at_start or self._held_bytes > MAX_HELD_BYTES:
            self.close()

    def close(self) -> None:
        """Show what waits, also where the step left its last line without an end."""
        if self._held and not self._at_start:
            self._output.write(Stream.STDOUT, b"\n")
        self._release()

    def _release(self) -> None:
        """The step has just ended a line."""
        held, self._held, self._held_bytes = self._held, [], 0
        for lines in held:
            self._output.write(Stream.STDOUT, lines)
        self._at_start = True


class ServiceLog:
    """Marks a service's lines by its name, and knows the last of them."""

    def __init__(self, name: str, log: StepLog) -> None:
        self._mark = f"[{name}] ".encode()
        self._log = log
        self._begun = b""
        self._shown = 0
        self._left_out = 0
        self._last: deque[bytes] = deque(maxlen=LAST_LINES)

    def take(self, data: bytes) -> None:
        *lines, self._begun = (self._begun + data).split(b"\n")
        while len(self._begun) > MAX_LINE_BYTES:
            lines.append(self._begun[:MAX_LINE_BYTES])
            self._begun = self._begun[MAX_LINE_BYTES:]
        if lines:
            self._show(lines)

    def _show(self, lines: list[bytes]) -> None:
        self._last.extend(lines[-LAST_LINES:])
        room = MAX_SHOWN_BYTES - self._shown
        text = b"".join(self._mark + line + b"\n" for line in lines)
        if len(text) > room:
            fitting = text[: text.rfind(b"\n", 0, max(room, 0)) + 1]
            self._left_out += len(text) - len(fitting)
            self._shown = MAX_SHOWN_BYTES  # what is left out is so to the end
            text = fitting
        else:
            self._shown += len(text)
        if text:
            self._log.write_lines(text)

    def end(self) -> None:
        if self._begun:
            self._show([self._begun])
            self._begun = b""
        if self._left_out:
            said = f"{self._left_out:,} bytes more are left out of this log"
            self._log.write_lines(self._mark + said.encode() + b"\n")
            self._left_out = 0

    @property
    def last(self) -> str:
        """Its last lines, for people; empty where it wrote nothing."""
        lines = [*self._last, *([self._begun] if self._begun else [])]
        text = b"\n".join(lines[-LAST_LINES:])[-LAST_BYTES:]
        return text.decode(errors="replace").strip()
