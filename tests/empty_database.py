"""A database without content, of which a copy costs less than to make one."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from coordinator.storage.migrate import migrate_apart
from coordinator.storage.postgresql import PostgresPlace, engine_of

if TYPE_CHECKING:
    from tests.postgres_server import PostgresServer

_postgres: PostgresServer | None = None
_places: dict[Path, PostgresPlace] = {}
"""The database of each data folder, while there is a server."""


@contextmanager
def kept_by(server: PostgresServer) -> Iterator[None]:
    """What is put into folders meanwhile is there."""
    global _postgres
    _postgres = server
    try:
        yield
    finally:
        _postgres = None
        for place in _places.values():
            server.drop(place)
        _places.clear()


def put_empty_database(data: Path) -> Path | PostgresPlace:
    """In a coordinator's data folder, made if need be, unless it has one."""
    data.mkdir(mode=0o700, exist_ok=True)
    if _postgres is not None:
        if data not in _places:
            _places[data] = _postgres.new_database()
        return _places[data]
    path = data / "pushrod.db"
    if not path.exists():
        path.write_bytes(_template())
    return path


def change(data: Path, *statements: str) -> None:
    """In the database of a data folder, whose coordinator may be running; one transaction."""
    place = put_empty_database(data)
    by_postgres = isinstance(place, PostgresPlace)
    engine = engine_of(place) if by_postgres else sa.create_engine(f"sqlite:///{place}")
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))
    engine.dispose()


@functools.cache
def _template() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "empty.db"
        migrate_apart(path)
        return path.read_bytes()
