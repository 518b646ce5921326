"""An installation's rows and objects, moved to PostgreSQL and to a bucket."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import obstore
import psycopg
import pytest

from coordinator.app import run_coordinator
from coordinator.moving.errors import MoveError, NothingToMove, TargetOccupied
from coordinator.moving.moving import DatabaseMove, Move, StoreMove
from coordinator.object_ports import ObjectsUnusable
from coordinator.objects.places import PROBE_KEY, ObjectsPlace, open_objects
from coordinator.place import DataFolderInUse, Moved, MovedAway, only_one
from coordinator.settings import Settings
from coordinator.storage import migrate
from coordinator.storage.migrate import HEAD, migrate_apart
from coordinator.storage.postgres_transactions import PostgresTransactions
from coordinator.storage.postgresql import PostgresPlace
from coordinator.storage.soundness import DatabaseUnusable
from coordinator.storage.tables import metadata
from tests.integration.upkeep.filled_tables import MANY, MANY_ROWS, ROWS, fill
from tests.integration.upkeep.test_objects_elsewhere import settings_of
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
} | {f"logs/step-{number}-1/log.zst": b"log %d" % number for number in range(6)}


@pytest.fixture
def target(postgres_server: PostgresServer) -> Iterator[PostgresPlace]:
    """Of this version's schema, which no coordinator has used."""
    place = postgres_server.new_database()
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
        installed=data / "pushrod.db",
        database=target
        and DatabaseMove(
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
    data: Path, bucket: ObjectsPlace, postgres_server: PostgresServer
) -> None:
    target = postgres_server.new_database(migrated=False)
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
    assert compared.database_seconds > 0 < compared.objects_seconds
    assert compared.objects is not None
    assert not compared.objects.differing
    # It is over; a second time nothing is done.
    again = move_of(data, target, bucket).run()
    assert not again.copied
    assert not (data / "moving").exists()
    assert len(json.loads((data / "moved").read_text())) == 2
    postgres_server.drop(target)


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


# Ends in the middle


@pytest.mark.timeout(600)
def test_a_kill_at_each_table_and_object_and_mark_is_made_good_by_a_further_run(
    data: Path, target: PostgresPlace, bucket: ObjectsPlace
) -> None:
    before, files = rows_of_sqlite(data / "pushrod.db"), files_of(data)
    given = {
        "data": str(data),
        "database": target.url,
        "objects": {
            "location": bucket.location,
            "endpoint": bucket.endpoint,
            "region": bucket.region,
            "credentials_file": str(bucket.credentials_file),
        },
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.upkeep.moving_process"],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    killed = [line.split(" ", 1) for line in done.stdout.splitlines()]
    of_kind = {kind: {name for one, name in killed if one == kind} for kind, _ in killed}
    assert of_kind["copied"] == before.keys()
    assert MANY in of_kind["rows"]
    assert of_kind["object"] == OBJECTS.keys()
    assert of_kind["mark"] == {
        *("begin database", "schema", "begin objects", "moved", "database", "objects", "end")
    }
    assert rows_of_postgresql(target) == before
    assert contents_of(bucket) == OBJECTS
    assert files_of(data) == files
    assert not (data / "moving").exists()


def stop_at(wanted: str) -> Callable[[str, str], None]:
    def tell(kind: str, name: str) -> None:
        if f"{kind} {name}" == wanted:
            raise InterruptedError(wanted)

    return tell


def test_what_changed_since_a_run_that_was_ended_is_taken_as_it_is_now(
    data: Path, target: PostgresPlace, bucket: ObjectsPlace
) -> None:
    """A coordinator may have gone on meanwhile: with rows, and objects that it made and deleted."""
    with pytest.raises(InterruptedError):
        move_of(data, target, bucket, tell=stop_at("mark moved")).run()
    with closing(sqlite3.connect(data / "pushrod.db")) as connection:
        connection.execute("UPDATE projects SET name = 'another' WHERE rowid = 3")
        connection.execute("DELETE FROM step_results WHERE rowid = 1")
        connection.commit()
    (data / "objects/logs/step-3-1/log.zst").unlink()
    (data / "objects/logs/step-4-1/log.zst").write_bytes(b"log 5")
    (data / "objects/logs/step-new").write_bytes(b"new")
    report = move_of(data, target, bucket).run()
    assert rows_of_postgresql(target) == rows_of_sqlite(data / "pushrod.db")
    here = OBJECTS | {"logs/step-4-1/log.zst": b"log 5", "logs/step-new": b"new"}
    del here["logs/step-3-1/log.zst"]
    assert contents_of(bucket) == here
    assert report.objects is not None
    assert (report.objects.sent_objects, report.objects.removed) == (2, 1)


async def test_no_coordinator_begins_on_half_of_an_installation_nor_on_what_was_moved_away(
    data: Path, target: PostgresPlace, bucket: ObjectsPlace
) -> None:
    old = Settings(data=data, listen="127.0.0.1:0")
    database = {"database": target.url}
    objects = settings_of(bucket)
    with pytest.raises(InterruptedError):
        await asyncio.to_thread(move_of(data, target, bucket, tell=stop_at("mark moved")).run)
    again = "was begun and not finished: run `pushrod migrate` again"
    for given in (database, objects):
        with pytest.raises((DatabaseUnusable, ObjectsUnusable), match=again):
            await start(Settings(data=data, listen="127.0.0.1:0", **given))
    await asyncio.to_thread(move_of(data, target, bucket).run)
    with pytest.raises(MovedAway, match=r'write database = "postgresql://.*remove .*moved'):
        await start(old)
    with pytest.raises(MovedAway, match="objects of this installation was moved to s3://"):
        await start(Settings(data=data, listen="127.0.0.1:0", **database))


async def start(settings: Settings) -> None:
    stop = asyncio.Event()
    await run_coordinator(settings, ready=lambda _url: stop.set(), stop=stop)


# What is refused


def refused(move: Move, error: type[Exception] = MoveError) -> str:
    with pytest.raises(error) as caught:
        move.run()
    return str(caught.value)


def test_a_target_with_something_in_it_is_refused_and_stays_as_it_is(
    data: Path, target: PostgresPlace, bucket: ObjectsPlace, postgres_server: PostgresServer
) -> None:
    obstore.put(open_objects(bucket), "holiday.jpg", b"of somebody")
    assert "has something in it already (holiday.jpg)" in refused(move_of(data, None, bucket))
    assert contents_of(bucket) == {"holiday.jpg": b"of somebody"}

    older = postgres_server.new_database(migrated=False)
    migrate.upgrade(older, "0012")
    assert "has something in it already (an older pushrod)" in refused(move_of(data, older, None))
    postgres_server.drop(older)

    with psycopg.connect(target.url) as connection:
        connection.execute("CREATE TABLE invoices (id INTEGER)")
    assert "the table invoices, which is not of pushrod" in refused(move_of(data, target, None))

    other = postgres_server.new_database()
    with psycopg.connect(other.url) as connection:
        connection.execute("INSERT INTO accounts VALUES ('a', 'a', 'a', 1)")
    assert "rows in the table accounts" in refused(move_of(data, other, None))
    with psycopg.connect(other.url) as connection:
        found = connection.execute("SELECT count(*) FROM accounts").fetchone()
    assert found == (1,)
    postgres_server.drop(other)


def test_what_another_installation_began_is_not_gone_on_with(
    data: Path, target: PostgresPlace, bucket: ObjectsPlace
) -> None:
    with pytest.raises(InterruptedError):
        move_of(data, target, bucket, tell=stop_at("mark moved")).run()
    (data / "moving").unlink()
    for move in (move_of(data, target, None), move_of(data, None, bucket)):
        assert "another installation's move to" in refused(move)


def test_what_was_moved_goes_nowhere_else_and_not_over_what_went_on_there(
    data: Path, target: PostgresPlace, postgres_server: PostgresServer
) -> None:
    move_of(data, target, None).run()
    elsewhere = postgres_server.new_database()
    assert f"was moved to {target.url} before" in refused(move_of(data, elsewhere, None))
    postgres_server.drop(elsewhere)
    # The objects do not go by what that database was.
    objects_alone = move_of(data, None, ObjectsPlace(location=data.parent / "elsewhere"))
    assert f"was moved to {target.url} before" in refused(objects_alone)
    with psycopg.connect(target.url) as connection:
        connection.execute("UPDATE builds SET state = 'succeeded'")
    assert "builds is another there since: it goes on there" in refused(move_of(data, target, None))
    assert move_of(data, target, None).compare().differing == ["builds"]


def test_a_move_needs_the_installation_for_itself(data: Path, target: PostgresPlace) -> None:
    with only_one(data):
        assert "another pushrod works on" in refused(move_of(data, target, None), DataFolderInUse)
    transactions = PostgresTransactions(target, wait_seconds=1, readers=1)
    transactions.take()
    assert "another coordinator works on" in refused(move_of(data, target, None), DatabaseUnusable)
    # Also where only the objects are moved: a coordinator of another machine makes some.
    objects_alone = move_of(data, None, ObjectsPlace(location=data.parent / "elsewhere"))
    objects_alone.installed = target
    assert "another coordinator works on" in refused(objects_alone, DatabaseUnusable)
    transactions.close()
    assert "no installation in" in refused(move_of(data.parent, target, None), NothingToMove)


def test_a_schema_of_another_version_is_told(data: Path, target: PostgresPlace) -> None:
    def set_schema(revision: str) -> None:
        with closing(sqlite3.connect(data / "pushrod.db")) as connection:
            connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
            connection.commit()

    set_schema("9999")
    assert "of a newer pushrod (schema 9999" in refused(
        move_of(data, target, None), DatabaseUnusable
    )
    set_schema("0050")
    assert "start this version's coordinator on it once" in refused(
        move_of(data, target, None), DatabaseUnusable
    )
    set_schema(HEAD)
    migrate_apart(target)
    with psycopg.connect(target.url) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    assert "of a newer pushrod (schema 9999" in refused(
        move_of(data, target, None), DatabaseUnusable
    )


def test_places_that_can_not_be_used_are_told(
    data: Path, target: PostgresPlace, bucket: ObjectsPlace, postgres_server: PostgresServer
) -> None:
    nowhere = PostgresPlace(url=postgres_server.url("nowhere"))
    assert 'database "nowhere" does not exist' in refused(
        move_of(data, nowhere, None), DatabaseUnusable
    )
    postgres_server.execute("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")
    latin = postgres_server.place("latin")
    assert "createdb --template=template0 --encoding=UTF8" in refused(
        move_of(data, latin, None), DatabaseUnusable
    )
    postgres_server.drop(latin)
    no_bucket = dataclasses.replace(bucket, location="s3://no-such-bucket/x")
    assert "there is no such bucket" in refused(move_of(data, None, no_bucket), ObjectsUnusable)
    inside = ObjectsPlace(location=data / "objects" / "here")
    assert "lie in each other" in refused(move_of(data, None, inside), TargetOccupied)


def test_a_row_that_postgresql_does_not_take_is_told_and_a_nul_character_replaced(
    data: Path, target: PostgresPlace
) -> None:
    def set_name(name: str) -> None:
        with closing(sqlite3.connect(data / "pushrod.db")) as connection:
            connection.execute("UPDATE agents SET name = ? WHERE rowid = 2", (name,))
            connection.execute("UPDATE steps SET attempt = ?", (len(name) and 2**40,))
            connection.commit()

    set_name("a\0b")
    assert "does not take a row of the table steps: value" in refused(
        move_of(data, target, None), DatabaseUnusable
    )
    with closing(sqlite3.connect(data / "pushrod.db")) as connection:
        connection.execute("UPDATE steps SET attempt = 1")
        connection.commit()
    report = move_of(data, target, None).run()
    assert report.replaced == {"agents.name": 1}
    with psycopg.connect(target.url) as connection:
        found = connection.execute("SELECT count(*) FROM agents WHERE name = 'a\ufffdb'").fetchone()
    assert found == (1,)


def test_an_artifact_that_was_damaged_before_is_moved_as_it_is_and_told(
    data: Path, bucket: ObjectsPlace
) -> None:
    [damaged, *_] = [key for key in OBJECTS if key.startswith("blobs/")]
    (data / "objects" / damaged).write_bytes(b"torn")
    report = move_of(data, None, bucket).run()
    assert report.objects is not None
    assert report.objects.damaged == [damaged]
    assert contents_of(bucket)[damaged] == b"torn"


def test_it_goes_on_from_postgresql_to_another_and_between_folders(
    data: Path, target: PostgresPlace, postgres_server: PostgresServer
) -> None:
    before = rows_of_sqlite(data / "pushrod.db")
    first = move_of(data, target, None).run()
    second = postgres_server.new_database()
    noted = Moved(what="database", source=target.url, target=second.url)
    folder = ObjectsPlace(location=data.parent / "elsewhere")
    move = move_of(data, None, folder)
    move.installed, move.database = target, DatabaseMove(target=second, noted=noted)
    report = move.run()
    assert rows_of_postgresql(second) == before
    assert report.tables == first.tables
    # The sample's rows name objects that nobody has ever made.
    with closing(sqlite3.connect(data / "pushrod.db")) as connection:
        [packs] = connection.execute("SELECT count(*) FROM stored_packs WHERE goes_at IS NULL")
    assert sum(key.startswith("stored_pac") for key in report.missing) == packs[0]
    assert any(key.startswith("blobs/") for key in report.missing)
    assert contents_of(folder) == OBJECTS
    postgres_server.drop(second)
