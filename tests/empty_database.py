"""A database without content, of which a copy costs less than to make one."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

from coordinator.storage.migrate import migrate_apart


def put_empty_database(data: Path) -> None:
    """In a coordinator's data folder, made if need be, unless it has one."""
    data.mkdir(mode=0o700, exist_ok=True)
    path = data / "pushrod.db"
    if not path.exists():
        path.write_bytes(_template())


@functools.cache
def _template() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "empty.db"
        migrate_apart(path)
        return path.read_bytes()
