"""Connections to PostgreSQL that are lost, also with a commit's answer; a server that is away."""

from __future__ import annotations

import asyncio
import socket
import threading
from pathlib import Path

import pytest

from coordinator.storage.connection import AsyncConnection
from coordinator.storage.database import Database
from coordinator.storage.postgresql import PostgresPlace
from coordinator.storage.soundness import DatabaseUnusable
from coordinator.storage.trouble import Trouble, trouble_of
from tests.integration.upkeep.counter import (
    END_ALL,
    WAIT_MS,
    Disturbed,
    count,
    increase,
    password_file,
)
from tests.postgres_server import OWNER, PostgresServer


async def test_a_server_that_ends_while_it_is_opened_is_no_fault_of_ours(
    place: PostgresPlace, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a coordinator that has others beside it would end, and not try again."""

    def ends_meanwhile(_place: PostgresPlace) -> None:
        postgres_server.execute(END_ALL)

    monkeypatch.setattr("coordinator.storage.migrate.migrate_apart", ends_meanwhile)
    with pytest.raises(DatabaseUnusable, match="no PostgreSQL answers at"):
        await Database.open(place)


async def test_a_write_whose_connection_is_cut_is_run_again(
    database: Database, postgres_server: PostgresServer
) -> None:
    work = Disturbed(lambda: postgres_server.execute(END_ALL))
    assert await database.write(work) == 1
    assert work.runs == 2
    postgres_server.execute(END_ALL)
    assert await database.read(count) == 1


class PartFailed(Exception):
    """Of a work that goes on without that part."""


@pytest.mark.parametrize("end", ["swallowed", "wrapped"])
async def test_a_lost_connection_that_a_work_took_for_a_part_s_fault_is_nobody_s(
    end: str, database: Database, postgres_server: PostgresServer
) -> None:
    """As a completion does it, which hands a step over if it can: it and its whole group are run
    again."""
    entered, go = threading.Event(), threading.Event()

    async def waits(connection: AsyncConnection) -> None:
        entered.set()
        go.wait(60)

    work = Disturbed(lambda: postgres_server.execute(END_ALL))

    async def careless(connection: AsyncConnection) -> None:
        try:
            await work(connection)
        except Exception as error:
            if end == "wrapped":
                raise PartFailed from error

    first = asyncio.create_task(database.write(waits))
    assert await asyncio.to_thread(entered.wait, 60)
    writes = [asyncio.create_task(database.write(one)) for one in (increase, careless, increase)]
    await asyncio.sleep(0)
    go.set()
    await first
    assert await asyncio.gather(*writes) == [1, None, 3]
    assert work.runs == 2


async def test_reads_and_writes_wait_for_a_server_that_starts_anew(
    database: Database, postgres_server: PostgresServer
) -> None:
    assert await database.write(increase) == 1
    postgres_server.stop()
    write = asyncio.create_task(database.write(increase))
    read = asyncio.create_task(database.read(count))
    await asyncio.sleep(0)
    postgres_server.start()
    assert await write == 2
    assert await read in (1, 2)


async def test_a_server_that_is_away_for_too_long_is_said_and_found_again(
    place: PostgresPlace, postgres_server: PostgresServer
) -> None:
    database = await Database.open(place, busy_timeout_ms=100)
    try:
        postgres_server.stop()
        try:
            for asked in (database.write(increase), database.read(count)):
                with pytest.raises(Exception) as told:
                    await asked
                assert trouble_of(told.value) is Trouble.DATABASE_AWAY
        finally:
            postgres_server.start()
        assert await database.write(increase) == 1
    finally:
        await database.close()


async def test_closing_waits_for_no_server_that_is_away(
    place: PostgresPlace, postgres_server: PostgresServer
) -> None:
    database = await Database.open(place, busy_timeout_ms=600_000)
    postgres_server.stop()
    try:
        write = asyncio.create_task(database.write(increase))
        await asyncio.sleep(0)
        async with asyncio.timeout(60):
            await database.close()
        assert isinstance((await asyncio.gather(write, return_exceptions=True))[0], Exception)
    finally:
        postgres_server.start()


class Proxy:
    """To the server, by TCP; it cuts the connection at the next COMMIT, before or after that."""

    def __init__(self, server: PostgresServer) -> None:
        self._server, self.cut, self.away = server, "", False
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            if self.away:
                client.close()
                continue
            server = socket.create_connection(("127.0.0.1", self._server.port))
            ends = threading.Event()
            for arguments in ((client, server, ends, True), (server, client, ends, False)):
                threading.Thread(target=self._pass, args=arguments, daemon=True).start()

    def _pass(
        self, one: socket.socket, other: socket.socket, ends: threading.Event, asks: bool
    ) -> None:
        with one, other:
            try:
                while data := one.recv(65536):
                    if asks and b"COMMIT" in data and self.cut:
                        ends.set()  # first, or the answer is passed on before that
                        if self.cut == "after":
                            other.sendall(data)
                        self.cut = ""
                        other.shutdown(socket.SHUT_WR)
                        one.shutdown(socket.SHUT_RDWR)
                        return
                    if not asks and ends.is_set():
                        return
                    other.sendall(data)
            except OSError:
                pass

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()


@pytest.mark.parametrize("cut", ["before", "after"])
async def test_a_commit_whose_answer_is_lost_counts_once(
    place: PostgresPlace, postgres_server: PostgresServer, tmp_path: Path, cut: str
) -> None:
    proxy = Proxy(postgres_server)
    with password_file(tmp_path) as file:
        through = PostgresPlace(
            url=f"postgresql://{OWNER}@127.0.0.1:{proxy.port}/{place.name}?sslmode=disable",
            password_file=file,
        )
        database = await Database.open(through, busy_timeout_ms=WAIT_MS)
        try:
            work, told = Disturbed(lambda: None), list[int]()
            assert await database.write(increase, committed=told.append) == 1
            proxy.cut = cut
            assert await database.write(work, committed=told.append) == 2
            assert work.runs == (1 if cut == "after" else 2)
            assert await database.write(increase, committed=told.append) == 3
            assert told == [1, 2, 3]
        finally:
            await database.close()
            proxy.close()


async def test_what_was_committed_unheard_is_announced_when_the_server_is_back(
    place: PostgresPlace, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    """Its caller was told that nobody knows."""
    proxy = Proxy(postgres_server)
    with password_file(tmp_path) as file:
        through = PostgresPlace(
            url=f"postgresql://{OWNER}@127.0.0.1:{proxy.port}/{place.name}?sslmode=disable",
            password_file=file,
        )
        database = await Database.open(through, busy_timeout_ms=100)
        told = list[int]()

        def cut_and_stay_away() -> None:
            proxy.cut, proxy.away = "after", True

        try:
            with pytest.raises(Exception) as error:
                await database.write(Disturbed(cut_and_stay_away), committed=told.append)
            assert trouble_of(error.value) is Trouble.DATABASE_UNKNOWN
            assert told == []
            proxy.away = False
            assert await database.write(increase, committed=told.append) == 2
            assert told == [1, 2]
        finally:
            await database.close()
            proxy.close()
