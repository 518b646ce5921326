"""Lines of logs that reach a coordinator which does not lead."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from coordinator import several
from coordinator.objects.logs import ObjectLogStore
from coordinator.peers import log_taking
from coordinator.storage.database import Database
from coordinator.storage.postgres_transactions import (
    AnotherWrites,
    PostgresAlone,
    PostgresBeside,
)
from coordinator.storage.soundness import DatabaseUnusable
from coordinator.storage.transactions import Write
from coordinator.storage.trouble import DatabaseTrouble, Trouble
from pipelines_schema.log_frames import FOR_LOGS_ALONE
from tests.integration.coordinator_fixture import (
    eventually,
)
from tests.integration.two_coordinators import Two, two_coordinators
from tests.postgres_server import PostgresServer
from tests.s3_server import S3Server


@pytest.fixture
async def two(
    postgres_server: PostgresServer,
    s3_server: S3Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Two]:
    database = postgres_server.new_database()
    async with two_coordinators(database, s3_server, tmp_path, monkeypatch) as both:
        yield both
    postgres_server.drop(database)


async def test_lines_are_stored_and_the_leader_has_them(two: Two) -> None:
    for number, at in enumerate((two.other, two.other, two.leader, two.other)):
        answer = await two.append(at, number * 6, b"line %d" % number)
        assert answer.status == 204
        assert answer.headers["Upload-Offset"] == str(number * 6 + 6)
    assert len(two.taken) == 3
    log = await two.leader.admin.get(f"/api/steps/{two.spec['stepId']}/log")
    text = b"line 0line 1line 2line 3"
    assert log.body == text
    done = await two.agent.complete(
        two.spec, logBytes=len(text), logSha256=hashlib.sha256(text).hexdigest()
    )
    assert done.status == 200


async def test_who_follows_a_log_at_the_leader_is_told(two: Two) -> None:
    path = f"/api/steps/{two.spec['stepId']}/log?wait=30"
    following = asyncio.create_task(two.leader.admin.get(path))
    await asyncio.sleep(0.2)
    assert (await two.append(two.other, 0, b"now")).status == 204
    assert (await following).body == b"now"
    await eventually(_has(two, "pushrod_log_bytes_total 3.0"))


def _has(two: Two, words: str) -> Any:
    async def look() -> bool:
        return words in (await two.leader.admin.get("/metrics")).text

    return look


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"epoch": 2}, b"x"),
        ({"step": "5f0c8d7e-93d1-4b53-9a51-0d2f4b6a8c11"}, b"x"),
        ({"token": "prs_x"}, b"x"),
        ({"method": "POST"}, b"x"),
        ({}, b""),
        ({"offset": 7}, b"x"),
        ({"offset": 999_999}, b"xx"),
        ({}, b"x" * 1_100_000),
    ],
)
async def test_all_else_is_answered_as_by_the_leader(
    changed: dict[str, Any], text: bytes, two: Two
) -> None:
    offset = changed.pop("offset", 0)
    there = await two.append(two.leader, offset, text, **changed)
    here = await two.append(two.other, offset, text, **changed)
    assert (here.status, here.body) == (there.status, there.body)
    assert here.headers.get("Upload-Offset") == there.headers.get("Upload-Offset")
    assert not two.taken


async def test_the_body_of_who_forged_a_token_is_not_waited_for(two: Two) -> None:
    """Nor kept in memory."""
    head = (
        f"PATCH /api/runner/{two.spec['stepId']}/log HTTP/1.1\r\nHost: here\r\n"
        f"Authorization: Bearer {two.spec['token'][:-1]}x\r\nContent-Type: text/plain\r\n"
        f"Upload-Offset: 0\r\nContent-Length: 1000000\r\n\r\n"
    )
    answer = await two.other.exchange(head.encode())
    assert answer.startswith(b"HTTP/1.1 401")
    assert not two.taken


async def test_nothing_is_taken_of_an_attempt_that_has_ended(two: Two) -> None:
    (await two.agent.complete(two.spec)).expect(200)
    answer = await two.append(two.other, 0, b"late")
    assert answer.status == 409
    assert answer.json["stale"]
    assert not two.taken


async def test_nothing_is_taken_of_an_agent_whose_credential_was_revoked(two: Two) -> None:
    assert (await two.append(two.other, 0, b"a")).status == 204
    tokens = (await two.leader.admin.get("/api/tokens")).json
    [its] = [one["id"] for one in tokens if one["kind"] == "agent"]
    (await two.leader.admin.call("DELETE", f"/api/tokens/{its}")).expect(204)
    answer = await two.append(two.other, 1, b"b")
    assert answer.status == 409
    assert len(two.taken) == 1


async def test_the_leader_answers_where_the_database_does_not(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was stored before that, unknown to who sent it, is not stored twice."""
    append = ObjectLogStore.append

    async def stored_and_lost(self: ObjectLogStore, *arguments: Any) -> int:
        monkeypatch.setattr(ObjectLogStore, "append", append)
        await append(self, *arguments)
        raise DatabaseTrouble(Trouble.DATABASE_UNKNOWN)

    monkeypatch.setattr(ObjectLogStore, "append", stored_and_lost)
    answer = await two.append(two.other, 0, b"once")
    assert answer.status == 409
    assert answer.json["offset"] == 4
    log = await two.leader.admin.get(f"/api/steps/{two.spec['stepId']}/log")
    assert log.body == b"once"


@pytest.mark.parametrize("word", [None, FOR_LOGS_ALONE])
async def test_a_connection_is_kept_for_who_sends_nothing_else(word: str | None, two: Two) -> None:
    """Through a proxy comes anybody's next request, and not this word."""
    reader, writer = await asyncio.open_connection("127.0.0.1", two.other.port)
    for offset in range(2):
        connection = f"Connection: keep-alive, {word}\r\n" if word else ""
        writer.write(
            f"PATCH /api/runner/{two.spec['stepId']}/log?epoch=1 HTTP/1.1\r\nHost: here\r\n"
            f"Authorization: Bearer {two.spec['token']}\r\nContent-Type: text/plain\r\n"
            f"Upload-Offset: {offset}\r\nContent-Length: 1\r\n{connection}\r\nx".encode()
        )
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 204")
        if word is None:
            assert b"Connection: close" in head
            assert await reader.read() == b""
            break
    writer.close()
    assert len(two.taken) == (2 if word else 1)


async def test_a_database_of_another_version_is_left_to_its_own(
    postgres_server: PostgresServer,
) -> None:
    place = postgres_server.new_database()
    database = await Database.open_beside(place, wait_seconds=0)
    await database.close()
    postgres_server.execute("UPDATE alembic_version SET version_num = '9999'", place.name)
    with pytest.raises(DatabaseUnusable, match="of another version: its schema is 9999"):
        await Database.open_beside(place, wait_seconds=0)
    postgres_server.drop(place)


async def test_a_place_that_could_not_be_opened_is_tried_again(
    postgres_server: PostgresServer,
    s3_server: S3Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    faults = [DatabaseUnusable("of another version"), DatabaseTrouble(Trouble.DATABASE_AWAY)]
    opened = several.logs_beside

    @asynccontextmanager
    async def at_the_third_try(*arguments: Any) -> AsyncIterator[Any]:
        if faults:
            raise faults.pop()
        async with opened(*arguments) as found:
            yield found

    monkeypatch.setattr(several, "logs_beside", at_the_third_try)
    monkeypatch.setattr(log_taking, "AGAIN_SECONDS", 0.05)
    database = postgres_server.new_database()
    async with two_coordinators(database, s3_server, tmp_path, monkeypatch) as two:
        assert (await two.append(two.other, 0, b"x")).status == 204
        assert two.taken
    postgres_server.drop(database)


def test_nobody_moves_what_somebody_adds_to(postgres_server: PostgresServer) -> None:
    """And nobody adds to what is moved."""

    async def nothing(_connection: object) -> None: ...

    def write(transactions: PostgresBeside) -> Exception | None:
        [outcome] = transactions.write([Write(nothing, None, asyncio.Future(loop=loop))])
        return outcome.error

    loop = asyncio.new_event_loop()
    place = postgres_server.new_database()
    beside = PostgresBeside(place, wait_seconds=0, readers=1)
    alone = PostgresAlone(place, wait_seconds=0, readers=1)
    assert write(beside) is None
    with pytest.raises(AnotherWrites):
        alone.take()
    beside.close()
    alone.take()
    again = PostgresBeside(place, wait_seconds=0, readers=1)
    assert isinstance(write(again), DatabaseTrouble)
    for transactions in (again, alone):
        transactions.close()
    loop.close()
    postgres_server.drop(place)
