"""Moves an installation again and again, each time killed at the next thing that it does, until one
comes to its end. Reads the move's places from standard input, prints where it was killed."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from coordinator.moving.moving import DatabaseMove, Move, StoreMove
from coordinator.objects.places import ObjectsPlace
from coordinator.place import Moved
from coordinator.storage.postgresql import PostgresPlace, engine_of


def run_to_the_next(given: dict[str, Any], done: set[tuple[str, str]]) -> tuple[str, str] | None:
    """In a process of its own, killed at the first moment that is none of `done`; which it was."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _move(given, done, writing)
    os.close(writing)
    with os.fdopen(reading) as told:
        text = told.read()
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        if os.waitstatus_to_exitcode(status) != 0:
            raise RuntimeError("the move failed")
        return None
    kind, name = text.split(" ", 1)
    return kind, name


def _move(given: dict[str, Any], done: set[tuple[str, str]], writing: int) -> None:
    """Ends this process."""

    def tell(kind: str, name: str) -> None:
        # Before a table nothing has been done since the one before it; with objects others are.
        if kind not in ("table", "object there") and (kind, name) not in done:
            os.write(writing, f"{kind} {name}".encode())
            os.kill(os.getpid(), signal.SIGKILL)

    code = 1
    try:
        move_of(given, tell).run()
        code = 0
    finally:
        if code:
            sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
        os._exit(code)


def move_of(given: dict[str, Any], tell: Any) -> Move:
    data, objects = Path(given["data"]), dict(given["objects"])
    objects["credentials_file"] = Path(objects["credentials_file"])
    return Move(
        data=data,
        installed=data / "pushrod.db",
        database=DatabaseMove(
            target=PostgresPlace(url=given["database"]),
            noted=Moved(what="database", source="pushrod.db", target=given["database"]),
        ),
        objects=StoreMove(
            source=ObjectsPlace(location=data / "objects"),
            target=ObjectsPlace(**objects),
            noted=Moved(what="objects", source="objects", target=objects["location"]),
        ),
        tell=tell,
    )


if __name__ == "__main__":
    engine_of(PostgresPlace(url="postgresql://nobody@/nowhere"))  # loads the driver for all
    places, killed = json.load(sys.stdin), set[tuple[str, str]]()
    while (at := run_to_the_next(places, killed)) is not None:
        killed.add(at)
        print(*at, flush=True)  # noqa: T201 - read by the test
