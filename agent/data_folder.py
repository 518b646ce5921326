"""The agent's data folder, which one process uses at a time."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class AlreadyRunningError(Exception):
    """Another agent process uses the data folder."""


@contextmanager
def sole_user(data_dir: Path) -> Iterator[None]:
    """Make the data folder and hold it. Raises AlreadyRunningError."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    data_dir.chmod(0o700)
    with open(data_dir / "agent.lock", "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunningError(
                f"another agent uses the data folder {data_dir}; give this one another by --data"
            ) from None
        yield
