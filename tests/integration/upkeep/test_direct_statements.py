"""What a database's driver is given itself says and does what SQLAlchemy would."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, OperationalError

from coordinator.storage.direct_statements import DirectStatements, direct
from coordinator.storage.postgresql import Failure, engine_of, failure_of
from coordinator.storage.tables.columns import Instant
from tests.integration.statements import collected
from tests.postgres_server import PostgresServer

METADATA = sa.MetaData()
THINGS = sa.Table(
    "things",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String, nullable=False, unique=True),
    sa.Column("labels", sa.JSON),
    sa.Column("made_at", Instant),
    sa.Column("done", sa.Boolean),
    sa.Column("ordinal", sa.Integer, default=sa.text("(SELECT 1 + count(*) FROM things)")),
    sa.Column("notes", sa.JSON, default=list),
    sa.Column("seconds", sa.Float),
    sa.Column("sealed", sa.LargeBinary),
)
NOW = datetime(2026, 11, 29, 10, 20, 30, 405060, tzinfo=UTC)
ROWS = [
    {
        "id": 1,
        "name": "a",
        "labels": {"os": "linux"},
        "made_at": NOW,
        "done": True,
        "notes": [],
        "seconds": 1.5,
        "sealed": b"%s",
    },
    {
        "id": 2,
        "name": "b",
        "labels": None,
        "made_at": None,
        "done": False,
        "notes": ["x"],
        "seconds": None,
        "sealed": None,
    },
    {
        "id": 3,
        "name": "c",
        "labels": ["x"],
        "made_at": NOW,
        "done": None,
        "notes": None,
        "seconds": 2.0,
        "sealed": b"",
    },
]
ITS_ID: sa.BindParameter[int] = sa.bindparam("its_id")
INSERT = direct(THINGS.insert())
UPDATE = direct(THINGS.update().where(THINGS.c.id == ITS_ID))
RENAME = direct(
    THINGS.update()
    .where(THINGS.c.id.in_(sa.bindparam("ids", expanding=True)))
    .values(name=THINGS.c.name + sa.bindparam("more"))
    .returning(THINGS.c.name, THINGS.c.made_at)
)
BY_IDS = direct(
    sa.select(THINGS, (THINGS.c.id + 10).label("far"))
    .where(THINGS.c.id.in_(sa.bindparam("ids", expanding=True)), THINGS.c.name.in_(["a", "b", "c"]))
    .order_by(THINGS.c.id)
)
FIND = direct(sa.select(THINGS).where(THINGS.c.id == ITS_ID))
LIKE = direct(sa.select(THINGS.c.id).where(sa.text("name LIKE '%b%'"), THINGS.c.id > ITS_ID))


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sa.Engine]:
    if request.param == "sqlite":
        path, options = tmp_path / "things.db", {"isolation_level": None}
        engine = sa.create_engine(f"sqlite:///{path}", connect_args=options)
        sa.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    else:
        server: PostgresServer = request.getfixturevalue("postgres_server")
        engine = engine_of(server.new_database())
    METADATA.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def connection(engine: sa.Engine) -> Iterator[sa.Connection]:
    with engine.connect() as connection:
        yield connection


@pytest.fixture
def statements() -> DirectStatements:
    return DirectStatements()


def whole(connection: sa.Connection) -> list[Any]:
    return list(connection.execute(sa.select(THINGS).order_by(THINGS.c.id)))


def test_rows_are_written_and_read_as_by_sqlalchemy(
    connection: sa.Connection, statements: DirectStatements
) -> None:
    for row in ROWS:
        statements.run(connection, INSERT, row)
    written = whole(connection)
    connection.execute(THINGS.delete())
    for row in ROWS:
        connection.execute(THINGS.insert(), row)
    assert written == whole(connection)
    assert [row.ordinal for row in written] == [1, 2, 3]
    for ids in ([2], [1, 3], [3, 2, 1], [], list(range(20)), list(range(33)), list(range(101))):
        found = statements.run(connection, BY_IDS, {"ids": ids}).all()
        expected = connection.execute(BY_IDS, {"ids": ids}).all()
        assert [dict(row._mapping) for row in found] == [dict(row._mapping) for row in expected]
        assert [row.far for row in found] == [row.far for row in expected]


def test_a_sign_that_means_a_parameter_may_stand_in_the_text(
    connection: sa.Connection, statements: DirectStatements
) -> None:
    statements.run(connection, INSERT, ROWS)
    assert list(statements.run(connection, LIKE, {"its_id": 0}).scalars()) == [2]


def test_a_list_of_rows_is_written_whole(
    connection: sa.Connection, statements: DirectStatements
) -> None:
    statements.run(connection, INSERT, ROWS)
    assert [row.labels for row in whole(connection)] == [{"os": "linux"}, None, ["x"]]


def test_a_column_without_its_value_gets_its_default(
    connection: sa.Connection, statements: DirectStatements
) -> None:
    statements.run(connection, INSERT, {"id": 1, "name": "a"})
    assert whole(connection)[0].notes == []


def test_only_what_is_named_is_changed(
    connection: sa.Connection, statements: DirectStatements
) -> None:
    statements.run(connection, INSERT, ROWS)
    statements.run(connection, UPDATE, {"its_id": 2, "made_at": NOW})
    statements.run(connection, UPDATE, {"its_id": 2, "name": "z", "labels": {"a": 1}})
    changed = statements.run(connection, FIND, {"its_id": 2}).one()
    assert (changed.name, changed.labels, changed.made_at, changed.done) == (
        "z",
        {"a": 1},
        NOW,
        False,
    )
    found = statements.run(connection, RENAME, {"ids": [1, 3], "more": "!"}).all()
    assert {tuple(row) for row in found} == {("a!", NOW), ("c!", NOW)}
    assert statements.run(connection, FIND, {"its_id": 4}).first() is None


def test_a_fault_is_the_one_that_sqlalchemy_tells(
    connection: sa.Connection, statements: DirectStatements
) -> None:
    statements.run(connection, INSERT, ROWS[0])
    with pytest.raises(KeyError, match="its_id"):
        statements.run(connection, FIND, {})
    with pytest.raises(IntegrityError, match=r"things\.name|things_name_key") as told:
        statements.run(connection, INSERT, {**ROWS[0], "id": 9})
    assert told.value.statement
    assert told.value.statement.startswith("INSERT")


def test_a_connection_that_is_lost_is_told_and_put_aside(
    postgres_server: PostgresServer,
) -> None:
    engine, others = (engine_of(postgres_server.new_database()) for _ in range(2))
    METADATA.create_all(engine)
    statements = DirectStatements()
    with engine.connect() as connection:
        own = sa.text("SELECT pg_backend_pid()")
        number = connection.execute(own).scalar_one()
        with others.connect() as another:
            another.execute(sa.text("SELECT pg_terminate_backend(:n)"), {"n": number})
        with pytest.raises(OperationalError) as told:
            statements.run(connection, FIND, {"its_id": 1})
        assert told.value.connection_invalidated
        assert failure_of(told.value) is Failure.AWAY
        connection.rollback()
        assert statements.run(connection, FIND, {"its_id": 1}).first() is None
    for one in (engine, others):
        one.dispose()


def test_it_is_part_of_the_transaction(
    connection: sa.Connection, statements: DirectStatements
) -> None:
    with connection.begin():
        statements.run(connection, INSERT, ROWS[0])
    with connection.begin(), connection.begin_nested() as savepoint:
        statements.run(connection, INSERT, ROWS[1])
        savepoint.rollback()
    with connection.begin() as transaction:
        statements.run(connection, INSERT, ROWS[2])
        assert [row.id for row in whole(connection)] == [1, 3]
        transaction.rollback()
    assert [row.id for row in whole(connection)] == [1]


def test_those_who_count_statements_are_told(
    connection: sa.Connection, statements: DirectStatements
) -> None:
    connection.execute(sa.text("SELECT 1"))
    with collected() as sent:
        statements.run(connection, INSERT, ROWS)
        statements.run(connection, FIND, {"its_id": 2})
    assert [text.split()[0] for text, _ in sent] == ["INSERT", "SELECT"]
    assert sent[1][1] == [2]


def test_what_is_compiled_once_serves_the_connections_of_all_engines(
    tmp_path: Path, statements: DirectStatements
) -> None:
    for number, row in enumerate(ROWS):
        engine = sa.create_engine(f"sqlite:///{tmp_path / str(number)}")
        METADATA.create_all(engine)
        with engine.connect() as connection:
            statements.run(connection, INSERT, row)
            assert [one.id for one in whole(connection)] == [row["id"]]
            found = statements.run(connection, FIND, {"its_id": row["id"]}).one()
            assert found.name == row["name"]
        engine.dispose()
    assert len(statements._compiled) == 2
