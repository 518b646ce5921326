"""An installation's rows and objects, moved to PostgreSQL and to a bucket."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import obstore
import psycopg
import pytest

from coordinator.moving.errors import MoveError, NothingToMove, TargetOccupied
from coordinator.moving.moving import DatabaseMove, Move, Report, StoreMove
from coordinator.objects.places import PROBE_KEY, ObjectsPlace, open_objects
from coordinator.place import DataFolderInUse, Moved, only_one
from coordinator.storage.migrate import migrate_apart
from coordinator.storage.postgresql import PostgresPlace
from coordinator.storage.soundness import DatabaseUnusable
from coordinator.storage.tables import metadata
from tests.integration.upkeep.filled_tables import MANY, MANY_ROWS, ROWS, fill
from tests.postgres_server import PostgresServer
from tests.s3_server import S3Server


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Of an installation with rows in every table, and some objects."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "secret-key").write_bytes(b"k" * 32)
    migrate_apart(data / "pushrod.db")
    fill(data / "pushrod.db")
    for key, content in OBJECTS.items():
        path = data / "objects" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return data


BLOB = b"an artifact\n"
LARGE = bytes(range(256)) * 50_000
OBJECTS: Mapping[str, bytes] = {
    "blobs/acme/{0:.2}/{0}".format(hashlib.sha256(content).hexdigest()): content
    for content in (BLOB, LARGE, b"", b"another")
} | {f"logs/step-{number}-1/log.zst": b"log %d" % number for number in range(20)}


@pytest.fixture
def target(postgres_server: PostgresServer) -> Iterator[PostgresPlace]:
    place = postgres_server.new_database(migrated=False)
    yield place
    postgres_server.drop(place)


@pytest.fixture
def bucket(s3_server: S3Server, tmp_path: Path) -> ObjectsPlace:
    return s3_server.place(tmp_path / "credentials", tmp_path.name)


def move_of(
    data: Path, target: PostgresPlace | None, objects: ObjectsPlace | None, **more: Any
) -> Move:
    return Move(
        data=data,
        database=target
        and DatabaseMove(
            source=data / "pushrod.db",
            target=target,
            noted=Moved(what="database", source="pushrod.db", target=target.url),
        ),
        objects=objects
        and StoreMove(
            source=ObjectsPlace(location=data / "objects"),
            target=objects,
            noted=Moved(what="objects", source="objects", target=str(objects.location)),
        ),
        tell=more.get("tell", lambda _kind, _name: None),
    )


def plain(value: Any) -> Any:
    """As both drivers give it; JSON in either is parsed."""
    if isinstance(value, bool):
        return int(value)
    return bytes(value) if isinstance(value, memoryview) else value


def rows_of_sqlite(path: Path) -> dict[str, list[str]]:
    with closing(sqlite3.connect(path)) as connection:
        return {
            name: sorted(map(repr, connection.execute(f'SELECT {columns} FROM "{name}"')))
            for name, columns in _selected("CAST({} AS TEXT)").items()
        }


def rows_of_postgresql(place: PostgresPlace) -> dict[str, list[str]]:
    with psycopg.connect(place.url) as connection:
        found = {}
        for name, columns in _selected("{}::text").items():
            rows = connection.execute(f'SELECT {columns} FROM "{name}"'.encode()).fetchall()
            found[name] = sorted(repr(tuple(map(plain, row))) for row in rows)
        return found


def _selected(as_text: str) -> dict[str, str]:
    """What is JSON is compared as the text that it is."""
    return {
        table.name: ", ".join(
            as_text.format(f'"{column.name}"')
            if repr(column.type).startswith("JSON")
            else f'"{column.name}"'
            for column in table.columns
        )
        for table in metadata.sorted_tables
    }


def contents_of(place: ObjectsPlace) -> dict[str, bytes]:
    store = open_objects(place)
    keys = [one["path"] for some in obstore.list(store) for one in some]
    return {key: bytes(obstore.get(store, key).bytes()) for key in keys if key != PROBE_KEY}


def files_of(data: Path) -> dict[str, str]:
    """All that a move has no business to change."""
    return {
        str(path.relative_to(data)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in data.rglob("*")
        if path.is_file() and path.name not in ("lock", "moved", "moving")
    }


def test_every_table_of_the_schema_is_moved_and_the_sample_has_rows_in_each(data: Path) -> None:
    with closing(sqlite3.connect(data / "pushrod.db")) as connection:
        there = {
            name
            for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        }
    rows = rows_of_sqlite(data / "pushrod.db")
    assert there - {"alembic_version", "sqlite_sequence"} == rows.keys()
    assert {name: len(found) for name, found in rows.items()} == {
        name: MANY_ROWS if name == MANY else ROWS for name in rows
    }


def test_all_goes_over_as_it_is_and_the_source_stays_so(
    data: Path, target: PostgresPlace, bucket: ObjectsPlace
) -> None:
    before, files = rows_of_sqlite(data / "pushrod.db"), files_of(data)
    report = move_of(data, target, bucket).run()
    assert rows_of_postgresql(target) == before == rows_of_sqlite(data / "pushrod.db")
    assert contents_of(bucket) == OBJECTS
    assert files_of(data) == files
    assert report.rows == sum(map(len, before.values()))
    assert report.tables.keys() == before.keys()
    assert set(report.copied) == before.keys()
    assert report.objects is not None
    assert report.objects.objects == report.objects.sent_objects == len(OBJECTS)
    assert report.objects.bytes == sum(map(len, OBJECTS.values()))
    assert not report.replaced

    compared = move_of(data, target, bucket).compare()
    assert not compared.differing
    assert compared.objects is not None
    assert not compared.objects.differing
    # It is over; a second time nothing is done.
    again = move_of(data, target, bucket).run()
    assert not again.copied
    assert not (data / "moving").exists()
    assert json.loads((data / "moved").read_text())


def test_numbers_go_on_behind_the_sources_last_one_also_where_it_is_gone(
    data: Path, target: PostgresPlace
) -> None:
    with closing(sqlite3.connect(data / "pushrod.db")) as connection:
        [last] = connection.execute("SELECT seq FROM sqlite_sequence").fetchone()
        connection.execute("DELETE FROM outbox WHERE id = ?", (last,))
        connection.commit()
    move_of(data, target, None).run()
    with psycopg.connect(target.url) as connection:
        found = connection.execute(
            "SELECT nextval(pg_get_serial_sequence('outbox', 'id'))"
        ).fetchone()
    assert found == (last + 1,)
