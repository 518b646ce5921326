"""How a followed build is shown: exact bytes, lines with step names, or JSON lines."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping

import click

from pushrod.log_lines import PrefixedLines, Write, prefix_for
from pushrod.presentation import FINISHED_STEPS, say, step_summary
from pushrod.terminal_text import SafeBytes
from pushrod.transport import Json

PREFIX_COLOURS = ("cyan", "magenta", "yellow", "blue", "green")


def write_bytes(data: bytes) -> None:
    """Exactly these bytes to stdout, at once."""
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def say_step(step: Json) -> None:
    say(f"-- {step['name']}: {step_summary(step)}")


def for_stdout(write: Write) -> SafeBytes | None:
    """What stands between a log and `write` on a terminal; None elsewhere: there it is exact."""
    return SafeBytes(write) if sys.stdout.isatty() else None


class RawBytes:
    """One step's log as it is; on a terminal, with nothing that it would obey."""

    def __init__(self) -> None:
        self._safe: SafeBytes | None = None

    def step_changed(self, step: Json) -> None:
        if int(step.get("attempt", 0)) > 1 and step["status"] == "RUNNING":
            say(f"-- attempt {step['attempt']}")

    def step_waits(self, step: Json) -> None:
        say_step(step)

    def log_grew(self, step: Json, attempt: int, offset: int, data: bytes) -> None:
        self._safe = self._safe or for_stdout(write_bytes)
        feed = self._safe.feed if self._safe else write_bytes
        feed(data)

    def log_ended(self, step: Json, attempt: int) -> None:
        if self._safe:
            self._safe.close()


class MarkedLines:
    """Several steps' logs, line by line, each with its step's name; the steps' news on stderr."""

    def __init__(self, names: list[str]) -> None:
        self._names = names
        self._lines: dict[tuple[str, int], PrefixedLines] = {}
        self._safe: dict[tuple[str, int], SafeBytes] = {}

    def step_changed(self, step: Json) -> None:
        status = step["status"]
        if status in FINISHED_STEPS or status == "RUNNING":
            attempt = int(step.get("attempt", 0))
            again = f" (attempt {attempt})" if attempt > 1 and status == "RUNNING" else ""
            say(f"-- {step['name']}: {step_summary(step)}{again}")

    def step_waits(self, step: Json) -> None:
        say_step(step)

    def log_grew(self, step: Json, attempt: int, offset: int, data: bytes) -> None:
        key = (step["id"], attempt)
        if key not in self._lines:
            lines = PrefixedLines(prefix=self._prefix(step["name"]), write=write_bytes)
            self._lines[key] = lines
            if safe := for_stdout(lines.feed):
                self._safe[key] = safe
        (self._safe.get(key) or self._lines[key]).feed(data)

    def log_ended(self, step: Json, attempt: int) -> None:
        key = (step["id"], attempt)
        if safe := self._safe.pop(key, None):
            safe.close()
        if lines := self._lines.pop(key, None):
            lines.close()

    def _prefix(self, name: str) -> bytes:
        text = prefix_for(name, self._names)
        if sys.stdout.isatty() and _shows_colours(os.environ):
            place = self._names.index(name) if name in self._names else 0
            text = click.style(text, fg=PREFIX_COLOURS[place % len(PREFIX_COLOURS)])
        return text.encode(errors="replace")


class JsonLines:
    """One JSON object a line: bytes of logs as text, and the steps' news."""

    def step_changed(self, step: Json) -> None:
        print_line({"event": "step", "step": step})

    def step_waits(self, step: Json) -> None:
        print_line({"event": "waiting", "step": step})

    def log_grew(self, step: Json, attempt: int, offset: int, data: bytes) -> None:
        print_line(
            {
                "event": "log",
                "stepId": step["id"],
                "step": step["name"],
                "attempt": attempt,
                "offset": offset,
                "bytes": len(data),
                "text": data.decode("utf-8", "replace"),
            }
        )

    def log_ended(self, step: Json, attempt: int) -> None:
        print_line({"event": "logEnd", "stepId": step["id"], "attempt": attempt})


def print_line(value: Json) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def _shows_colours(environment: Mapping[str, str]) -> bool:
    """Nobody asked for none, and the terminal has them."""
    return not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"
