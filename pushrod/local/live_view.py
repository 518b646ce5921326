"""A build on a terminal: its log lines, and below them one line that says what runs.

The line is drawn on stderr, and taken away before anything else is printed.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping

import click

from pushrod.audiences import MarkedLines
from pushrod.following import Audience
from pushrod.presentation import FINISHED_STEPS, duration_text, printable
from pushrod.transport import Json

FRAME_SECONDS = 0.25
FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
PLAIN_FRAMES = "|/-\\"
ERASE = "\r\x1b[2K"


def wants_live(environment: Mapping[str, str]) -> bool:
    """A terminal that can take a line away again."""
    both = sys.stdout.isatty() and sys.stderr.isatty()
    return both and environment.get("TERM", "dumb") != "dumb"


class LiveView:
    """An audience; `run` draws until it is cancelled."""

    def __init__(
        self, names: list[str], *, clock: Callable[[], float] = time.monotonic, width: int = 0
    ) -> None:
        """`width`: characters of the terminal, 0: as it is each time."""
        self._lines: Audience = MarkedLines(names)
        self._clock, self._width = clock, width
        self._states: dict[str, Json] = {
            name: {"name": name, "status": "BLOCKED"} for name in names
        }
        self._since: dict[str, float] = {}
        self._frame = 0
        self._is_drawn = False
        self._paused = False

    async def run(self) -> None:
        try:
            while True:
                self._frame += 1
                self._draw()
                await asyncio.sleep(FRAME_SECONDS)
        finally:
            self._erase()

    def pause(self, paused: bool) -> None:
        """While somebody is asked something."""
        self._erase()
        self._paused = paused

    def step_changed(self, step: Json) -> None:
        name = str(step["name"])
        if step["status"] == "RUNNING" and self._states.get(name, {}).get("status") != "RUNNING":
            self._since[name] = self._clock()
        self._states[name] = step
        self._erase()
        self._lines.step_changed(step)

    def step_waits(self, step: Json) -> None:
        self._erase()
        self._lines.step_waits(step)

    def log_grew(self, step: Json, attempt: int, offset: int, data: bytes) -> None:
        self._erase()
        self._lines.log_grew(step, attempt, offset, data)

    def log_ended(self, step: Json, attempt: int) -> None:
        self._erase()
        self._lines.log_ended(step, attempt)

    def status_line(self) -> str:
        """`⠋ lint 3 s, unit 12 s · 2 of 5 done`, cut to the terminal's width."""
        now = self._clock()
        running = [
            f"{printable(name)} {duration_text(now - self._since.get(name, now))}"
            for name, step in self._states.items()
            if step["status"] == "RUNNING"
        ]
        done = sum(step["status"] in FINISHED_STEPS for step in self._states.values())
        frames = FRAMES if (sys.stderr.encoding or "").lower() == "utf-8" else PLAIN_FRAMES
        text = ", ".join(running) or "waiting"
        line = f"{frames[self._frame % len(frames)]} {text} - {done} of {len(self._states)} done"
        return line[: max(10, (self._width or shutil.get_terminal_size().columns) - 1)]

    def _draw(self) -> None:
        if not self._paused:
            line = self.status_line()
            shown = line if os.environ.get("NO_COLOR") else click.style(line, dim=True)
            self._write(f"{ERASE}{shown}")
            self._is_drawn = True

    def _erase(self) -> None:
        if self._is_drawn:
            self._write(ERASE)
            self._is_drawn = False

    @staticmethod
    def _write(text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()
