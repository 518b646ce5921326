"""Who leads of the coordinators that share a PostgreSQL, and who may put the leader out."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from structlog.testing import capture_logs

from coordinator.api.http.middleware import answer_errors
from coordinator.api.http.trouble import TROUBLES, Troubles
from coordinator.peers import among
from coordinator.peers.lead import Lead
from coordinator.peers.log_taking import LogPlace, LogTaking
from coordinator.peers.upstream import Upstream
from coordinator.services.keys import KeyPlace, Keys
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.database import Database
from coordinator.storage.lead import CERTAIN_SECONDS, SILENT_SECONDS, Leader, LeadRow
from coordinator.storage.postgres_transactions import AnotherWrites, TakenOver
from coordinator.storage.postgresql import Candidate, PostgresPlace, engine_of
from coordinator.storage.soundness import DatabaseUnusable
from coordinator.storage.trouble import Trouble
from tests.postgres_server import PostgresServer

SILENT = f"UPDATE coordinator_starts SET beat_at = now() - '{SILENT_SECONDS + 1} s'::interval"


def candidate(name: str) -> Candidate:
    return Candidate(holder=name, address=f"{name}:3001", key_print="of the key")


@pytest.fixture
def place(postgres_server: PostgresServer) -> Iterator[PostgresPlace]:
    place = postgres_server.new_database()
    yield place
    postgres_server.drop(place)


@dataclass(frozen=True)
class Named:
    """The row, as who has that name for his try asks."""

    row: LeadRow
    name: str

    def turn(self) -> Leader | None:
        return self.row.turn(self.name)

    def step_down(self) -> None:
        self.row.step_down(self.name)

    def put_out(self) -> int:
        return self.row.put_out()


@pytest.fixture
def rows(place: PostgresPlace) -> Iterator[Callable[[str], Named]]:
    made: dict[str, LeadRow] = {}

    def row(name: str) -> Named:
        return Named(made.setdefault(name, LeadRow(place)), name)

    yield row
    for one in made.values():
        one.close()


@pytest.fixture
async def led(place: PostgresPlace) -> AsyncIterator[Database]:
    """By `first`."""
    database = await Database.open(replace(place, candidate=candidate("first")))
    yield database
    await database.close()


async def look(connection: AsyncConnection) -> int:
    return int((await connection.execute(sa.text("SELECT 1"))).scalar_one())


async def test_the_others_see_who_leads_and_where(
    led: Database, rows: Callable[[str], Named]
) -> None:
    seen = rows("second").turn()
    assert seen is not None
    assert (seen.holder, seen.address, seen.is_there) == ("first", "first:3001", True)
    assert (seen.number, seen.key_print) == (1, "of the key")


async def test_no_other_writes_while_it_is_there(
    led: Database, place: PostgresPlace, rows: Callable[[str], Named]
) -> None:
    with pytest.raises(AnotherWrites):
        await Database.open(replace(place, candidate=candidate("second")))
    assert rows("second").put_out() == 0
    assert await led.write(look) == 1


async def test_a_silent_one_is_put_out_and_writes_no_more(
    led: Database,
    place: PostgresPlace,
    rows: Callable[[str], Named],
    postgres_server: PostgresServer,
) -> None:
    postgres_server.execute(SILENT, place.name)
    assert rows("second").put_out() == 1
    other = await Database.open(replace(place, candidate=candidate("second")))
    with pytest.raises(TakenOver):
        await led.write(look)
    seen = rows("first").turn()
    assert seen is not None
    assert (seen.holder, seen.number) == ("second", 2)
    await other.close()


async def test_one_that_lost_its_session_is_waited_for(
    led: Database,
    place: PostgresPlace,
    rows: Callable[[str], Named],
    postgres_server: PostgresServer,
) -> None:
    """It may still answer from what it knows, and takes its lock again."""
    rows("first").turn()
    postgres_server.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'", place.name
    )
    for other in (replace(place, candidate=candidate("second")), place):
        with pytest.raises(AnotherWrites):
            await Database.open(other)
        rows("first").turn()
    assert await led.write(look) == 1


async def test_one_with_another_key_never_leads(
    led: Database, place: PostgresPlace, rows: Callable[[str], Named]
) -> None:
    await led.close()
    rows("first").step_down()
    other = replace(candidate("second"), key_print="of another key")
    with pytest.raises(DatabaseUnusable, match="another `secret-key`"):
        await Database.open(replace(place, candidate=other))
    rows("second").step_down()
    again = await Database.open(replace(place, candidate=candidate("third")))
    await again.close()


async def test_one_of_an_older_version_stands_in_nobodys_way(
    led: Database,
    place: PostgresPlace,
    rows: Callable[[str], Named],
    postgres_server: PostgresServer,
) -> None:
    """It would take the row for each of its tries, and one that can lead would find it taken."""
    await led.close()
    rows("first").step_down()
    postgres_server.execute("UPDATE alembic_version SET version_num = '9999'", place.name)
    with pytest.raises(DatabaseUnusable, match=r"of a newer pushrod \(schema 9999"):
        await Database.open(replace(place, candidate=candidate("second")))
    [(holder, beat_at)] = postgres_server.execute(
        "SELECT holder, beat_at FROM coordinator_starts", place.name
    )
    assert (holder, beat_at) == ("first", None)


async def test_one_that_is_never_quicker_tries_once_in_a_while(
    place: PostgresPlace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As beside one that has no others, and whose row says nobody."""
    monkeypatch.setattr(among, "AGAIN_SECONDS", 3600.0)
    tries = 0

    async def work(_term: among.Term) -> None:
        nonlocal tries
        tries += 1
        raise AnotherWrites

    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        socket.create_server(("127.0.0.1", 0)) as door,
    ):
        listening.setblocking(False)
        life = asyncio.create_task(
            among.run_among_others(
                place,
                KeyPlace(data=tmp_path),
                listening,
                door,
                "first:3001",
                wait_seconds=10.0,
                clock=time.monotonic,
                work=work,
                logs=logs_of_nobody,
                ready=lambda: None,
                stop=asyncio.Event(),
            )
        )
        while not tries:
            await asyncio.sleep(0)
        for _ in range(1000):
            await asyncio.sleep(0)
        assert tries == 1
        life.cancel()
        await asyncio.gather(life, return_exceptions=True)


async def test_a_try_that_is_over_is_of_nobody_though_the_row_could_not_be_told(
    led: Database, place: PostgresPlace, postgres_server: PostgresServer
) -> None:
    """Or it would be said to be there for as long as the process looks, and nobody would lead."""
    row = LeadRow(place)
    lead = Lead(row, time.monotonic)
    postgres_server.execute(f"UPDATE coordinator_starts SET holder = '{lead.begin()}'", place.name)
    await lead.look()
    assert lead.is_ours
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row, "step_down", _away)
        await lead.end()
    postgres_server.execute(SILENT, place.name)
    await lead.look()
    assert not lead.is_ours
    assert lead.leader is not None
    assert not lead.leader.is_there
    await lead.close()


@asynccontextmanager
async def _nowhere() -> AsyncIterator[LogPlace]:
    raise DatabaseUnusable("there is none")
    yield


def logs_of_nobody(lead: Lead, keys: Keys, upstream: Upstream) -> LogTaking:
    return LogTaking(lead, keys, _nowhere, upstream, max_log_bytes=0, idle_seconds=1.0)


def _away(_holder: str) -> None:
    raise sa.exc.OperationalError("", None, Exception())


async def first_looks(folder: Path, wait_seconds: float, stop: asyncio.Event) -> None:
    """Of a coordinator whose database nobody serves."""
    with socket.create_server(("127.0.0.1", 0)) as own:
        await among.run_among_others(
            PostgresPlace(url="postgresql://pushrod@127.0.0.1:1/none"),
            KeyPlace(data=folder),
            own,
            own,
            "first:3001",
            wait_seconds=wait_seconds,
            clock=time.monotonic,
            work=_never,
            logs=logs_of_nobody,
            ready=lambda: None,
            stop=stop,
        )


async def test_no_key_is_made_up_while_the_database_is_away(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnusable, match="start it, or change the setting `database`"):
        await first_looks(tmp_path, 0.0, asyncio.Event())
    assert not (tmp_path / "secret-key").exists()


async def test_one_that_is_stopped_while_it_waits_for_its_database_ends(tmp_path: Path) -> None:
    stop = asyncio.Event()
    waiting = asyncio.create_task(first_looks(tmp_path, 3600.0, stop))
    with capture_logs() as told:
        while not told:
            await asyncio.sleep(0.01)
    stop.set()
    await asyncio.wait_for(waiting, 60)
    assert not (tmp_path / "secret-key").exists()


async def _never(_term: among.Term) -> None:
    raise AssertionError


async def test_to_look_is_to_say_that_one_is_there(
    led: Database,
    place: PostgresPlace,
    rows: Callable[[str], Named],
    postgres_server: PostgresServer,
) -> None:
    postgres_server.execute(SILENT, place.name)
    rows("first").turn()
    assert rows("second").put_out() == 0
    seen = rows("second").turn()
    assert seen is not None
    assert seen.is_there


async def test_a_claim_that_is_about_to_be_committed_is_seen(
    led: Database, place: PostgresPlace, rows: Callable[[str], Named]
) -> None:
    """Our statement waits for it, and has begun before."""
    engine = engine_of(place)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE coordinator_starts SET holder = 'second'"))
        turn = asyncio.create_task(asyncio.to_thread(rows("first").turn))
        while not connection.execute(_WAITING).scalar():
            await asyncio.sleep(0.01)
    seen = await turn
    engine.dispose()
    assert seen is not None
    assert seen.holder == "second"


_WAITING = sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted")


async def test_one_that_steps_down_is_not_waited_for(
    led: Database, place: PostgresPlace, rows: Callable[[str], Named]
) -> None:
    await led.close()
    rows("first").step_down()
    seen = rows("second").turn()
    assert seen is not None
    assert (seen.silent_seconds, seen.address) == (None, None)
    # And does not come back by looking.
    for one in ("first", "second"):
        seen = rows(one).turn()
        assert seen is not None
        assert seen.silent_seconds is None


async def test_one_without_others_is_never_put_out(
    place: PostgresPlace, rows: Callable[[str], Named]
) -> None:
    lone = await Database.open(place)
    seen = rows("second").turn()
    assert seen is not None
    assert (seen.holder, seen.silent_seconds) == (None, None)
    assert rows("second").put_out() == 0
    assert await lone.write(look) == 1
    await lone.close()


async def test_a_database_without_a_schema_has_nobody_who_leads(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    place = postgres_server.new_database(migrated=False)
    row = Named(LeadRow(place), "first")
    assert row.turn() is None
    first = await Database.open(replace(place, candidate=candidate("first")))
    seen = row.turn()
    assert seen is not None
    assert seen.address == "first:3001"
    await first.close()
    row.row.close()


# What a leader that may have been put out answers


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def answering(
    led: Database,
    rows: Callable[[str], Named],
    place: PostgresPlace,
    postgres_server: PostgresServer,
) -> AsyncIterator[tuple[Clock, TestClient[web.Request, web.Application]]]:
    clock = Clock()
    lead = Lead(rows("first").row, clock)
    postgres_server.execute(f"UPDATE coordinator_starts SET holder = '{lead.begin()}'", place.name)
    await lead.look()

    async def written(_request: web.Request) -> web.Response:
        return web.Response(text=str(await led.write(look)))

    async def quick(_request: web.Request) -> web.Response:
        return web.Response(text="done")

    async def held(_request: web.Request) -> web.Response:
        clock.now += CERTAIN_SECONDS
        return web.Response(text="goes on")

    async def streamed(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        clock.now += CERTAIN_SECONDS
        await response.write(b"whole")
        return response

    app = web.Application(middlewares=[lead.answers, answer_errors])
    app[TROUBLES] = Troubles()
    ways: dict[str, Callable[[web.Request], Awaitable[web.StreamResponse]]]
    ways = {"/quick": quick, "/held": held, "/streamed": streamed, "/written": written}
    for path, handler in ways.items():
        app.router.add_get(path, handler)
    async with TestClient(TestServer(app)) as client:
        yield clock, client


@pytest.mark.parametrize(
    ("path", "passes", "status"),
    [
        ("/quick", CERTAIN_SECONDS - 0.1, 200),
        ("/quick", CERTAIN_SECONDS, 503),
        ("/held", 0.0, 503),
        ("/streamed", 0.0, 200),
    ],
)
async def test_it_answers_while_it_is_certain(
    answering: tuple[Clock, TestClient[web.Request, web.Application]],
    path: str,
    passes: float,
    status: int,
) -> None:
    clock, client = answering
    clock.now += passes
    async with client.get(path) as answer:
        assert answer.status == status
        assert ("Retry-After" in answer.headers) == (status == 503)


async def test_a_write_that_another_was_quicker_than_is_to_be_asked_for_again(
    answering: tuple[Clock, TestClient[web.Request, web.Application]],
    place: PostgresPlace,
    rows: Callable[[str], Named],
    postgres_server: PostgresServer,
) -> None:
    """It was certain when it was asked, and it was not long ago."""
    _, client = answering
    async with client.get("/written") as answer:
        assert answer.status == 200
    postgres_server.execute(SILENT, place.name)
    assert rows("second").put_out() == 1
    other = await Database.open(replace(place, candidate=candidate("second")))
    with capture_logs() as logged:
        async with client.get("/written") as answer:
            assert answer.status == 503
            assert "look whether it was changed" in await answer.text()
    assert [line.get("trouble") for line in logged] == [str(Trouble.TAKEN_OVER)]
    await other.close()
