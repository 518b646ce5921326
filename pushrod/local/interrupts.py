"""Ctrl-C and SIGTERM: the first ends what runs as a cancelled build ends, the next kill it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(slots=True)
class Interrupts:
    """`cancel` and `kill` are set while there is something that they end."""

    cancel: Callable[[], None] | None = None
    kill: Callable[[], None] | None = None
    exit_code: int | None = None
    """128 and the first signal's number, once there was one."""
    _task: asyncio.Task[object] | None = field(default=None)

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Within the block, for the task that enters it."""
        loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        for number in NUMBERS:
            loop.add_signal_handler(number, self._hear, number)
        try:
            yield
        finally:
            for number in NUMBERS:
                loop.remove_signal_handler(number)

    def _hear(self, number: int) -> None:
        is_first = self.exit_code is None
        self.exit_code = self.exit_code or 128 + number
        if is_first and self.cancel is not None:
            self.cancel()
        elif is_first and self._task is not None:
            self._task.cancel()
        elif self.kill is not None:
            self.kill()
