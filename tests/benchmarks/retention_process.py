"""A coordinator that counts what its deletions send: DATA PORT COUNTS (a file, written anew)."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from coordinator.app import run_coordinator
from coordinator.settings import Settings


@dataclass(slots=True)
class Counts:
    """Of the transactions that deleted builds."""

    portions: int = 0
    statements: int = 0
    most_statements: int = 0
    most_rows: int = 0
    seconds: list[float] = field(default_factory=list)


class Counting:
    def __init__(self) -> None:
        self.counts = Counts()
        self._begin()

    def _begin(self, *_: object) -> None:
        self._statements = self._rows = 0
        self._deletes, self._began = False, time.perf_counter()

    def _executed(self, _connection: object, cursor: Any, statement: str, *_: object) -> None:
        self._statements += 1
        self._deletes |= statement.startswith("DELETE FROM builds")
        if not statement.lstrip().startswith(("SELECT", "PRAGMA", "BEGIN", "SAVEPOINT")):
            self._rows += max(cursor.rowcount, 0)

    def _committed(self, *_: object) -> None:
        if self._deletes:
            self.counts.portions += 1
            self.counts.statements += self._statements
            self.counts.most_statements = max(self.counts.most_statements, self._statements)
            self.counts.most_rows = max(self.counts.most_rows, self._rows)
            self.counts.seconds.append(time.perf_counter() - self._began)
        self._begin()

    def listen(self) -> None:
        """To the writer alone: readers' transactions delete nothing, but begin in between."""
        sa.event.listen(sa.Engine, "begin", self._of_writer(self._begin))
        sa.event.listen(sa.Engine, "after_cursor_execute", self._of_writer(self._executed))
        sa.event.listen(sa.Engine, "commit", self._of_writer(self._committed))

    @staticmethod
    def _of_writer(told: Any) -> Any:
        import threading

        def only(*arguments: object) -> None:
            if threading.current_thread().name.startswith("database-writer"):
                told(*arguments)

        return only

    async def write_down(self, file: Path) -> None:
        while True:
            fresh = file.with_suffix(".new")
            fresh.write_text(json.dumps(asdict(self.counts)))
            os.replace(fresh, file)
            await asyncio.sleep(0.5)


async def main(data: Path, port: int, file: Path) -> None:
    counting, stop = Counting(), asyncio.Event()
    counting.listen()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    settings = Settings(data=data, listen=f"127.0.0.1:{port}")
    writing = asyncio.create_task(counting.write_down(file))
    await run_coordinator(settings, ready=lambda _: None, stop=stop)
    writing.cancel()


asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])))
