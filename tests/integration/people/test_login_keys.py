"""Logins over months: keys that are replaced, tokens that expire, guesses that are forgotten."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from argon2 import PasswordHasher, extract_parameters

from coordinator.domain.errors import TooMany, Unauthenticated
from coordinator.domain.people.permissions import Principal, PrincipalKind, Right
from coordinator.domain.people.users import User
from coordinator.services.core import Core
from coordinator.services.keys import Keys
from coordinator.services.news import News
from coordinator.services.people.logins import Logins
from coordinator.services.people.passwords import MEMORY_KIB
from coordinator.services.people.rates import Rates
from coordinator.settings import Settings
from coordinator.storage.database import Database
from coordinator.storage.people import users as stored
from tests.integration.list_fixture import open_database

PASSWORD = "correct horse"
NOWHERE = cast(Any, None)
DAY = timedelta(days=1)
ROOT = Principal(
    kind=PrincipalKind.PERSON,
    name="root",
    token_id="t",
    account_id=None,
    rights=frozenset({Right.ADMINISTER}),
)


@dataclass
class Clock:
    now: datetime = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(tmp_path / "pushrod.db") as database:
        yield database


@pytest.fixture
async def core(database: Database, clock: Clock) -> Core:
    core = Core(
        database=database,
        repositories=NOWHERE,
        remotes=NOWHERE,
        logs=NOWHERE,
        blobs=NOWHERE,
        readings=NOWHERE,
        news=News(),
        keys=Keys(b"k" * 32),
        settings=Settings(login_seconds=7 * 86_400, login_key_days=30),
        public_url="https://ci.example",
        now=clock,
    )
    user = User(
        id="ada",
        email="ada@example.org",
        administrator=True,
        disabled=False,
        generation=1,
        created_at=clock.now,
        updated_at=clock.now,
        memberships={},
    )
    hashed = await Logins(core).passwords.hash(PASSWORD)
    await database.write(lambda connection: stored.insert_user(connection, user, hashed))
    return core


async def log_in(logins: Logins, password: str = PASSWORD) -> str:
    return (await logins.log_in("ada@example.org", password, "192.0.2.1")).token


def key_of(token: str) -> str:
    return str(json.loads(base64.urlsafe_b64decode(token.partition(".")[0] + "=="))["kid"])


async def test_a_key_is_replaced_by_schedule_and_believed_until_its_last_token_expired(
    core: Core, clock: Clock
) -> None:
    logins = Logins(core)
    first = await log_in(logins)
    clock.now += 29 * DAY
    last = await log_in(logins)
    assert key_of(last) == key_of(first)
    with pytest.raises(Unauthenticated):
        await logins.authenticate(first)
    clock.now += 2 * DAY
    of_next_key = await log_in(logins)
    assert key_of(of_next_key) != key_of(first)
    for each in (logins, Logins(core)):  # also after a restart
        assert (await each.authenticate(last))[0].name == "ada@example.org"
    clock.now += 5 * DAY + timedelta(seconds=1)
    with pytest.raises(Unauthenticated):
        await logins.authenticate(last)
    await logins.authenticate(of_next_key)


async def test_a_retired_key_is_deleted_once_nothing_it_signed_lives(
    core: Core, clock: Clock
) -> None:
    logins = Logins(core)
    for _ in range(4):
        await log_in(logins)
        clock.now += 31 * DAY
    await log_in(logins)
    keys = await core.database.read(stored.list_signing_keys)
    assert [key.retired_at is None for key in keys] == [False, True]


async def test_a_rotation_that_ends_logins_leaves_one_key(core: Core) -> None:
    logins = Logins(core)
    token = await log_in(logins)
    await logins.rotate_keys(ROOT, end_logins=True)
    assert len(await core.database.read(stored.list_signing_keys)) == 1
    with pytest.raises(Unauthenticated):
        await logins.authenticate(token)


@dataclass
class LateReader:
    """The database, but what is read first arrives only after the next write."""

    database: Database
    taken: asyncio.Event = field(default_factory=asyncio.Event)
    written: asyncio.Event = field(default_factory=asyncio.Event)
    late: asyncio.Task[Any] | None = None

    async def read(self, work: Any) -> Any:
        found = await self.database.read(work)
        if not self.taken.is_set():
            self.taken.set()
            await self.written.wait()
        return found

    async def write(self, work: Any, **options: Any) -> Any:
        done = await self.database.write(work, **options)
        self.written.set()
        if self.late is not None:
            await asyncio.wait([self.late])
        return done


async def looking_late(core: Core, token: str) -> tuple[Logins, LateReader]:
    """Somebody shows a token while its keys are about to be changed."""
    late = LateReader(core.database)
    logins = Logins(replace(core, database=cast(Any, late)))
    late.late = asyncio.create_task(logins.authenticate(token))
    await late.taken.wait()
    return logins, late


async def test_a_request_begun_before_a_rotation_does_not_bring_old_keys_back(core: Core) -> None:
    token = await log_in(Logins(core))
    logins, late = await looking_late(core, token)
    await logins.rotate_keys(ROOT, end_logins=True)
    assert late.late is not None
    with pytest.raises(Unauthenticated):
        await late.late
    with pytest.raises(Unauthenticated):
        await logins.authenticate(token)


async def test_the_first_login_is_not_disturbed_by_who_saw_no_keys(core: Core) -> None:
    logins, late = await looking_late(core, "no.token.atall")
    token = await log_in(logins)
    await logins.authenticate(token)
    assert late.late is not None
    with pytest.raises(Unauthenticated):
        await late.late


async def test_keys_are_sealed_with_the_coordinators_own(core: Core) -> None:
    await log_in(Logins(core))
    [key] = await core.database.read(stored.list_signing_keys)
    assert len(key.sealed) > 32
    assert "sealed" not in repr(key)


async def test_who_is_shut_out_may_try_again_a_quarter_of_an_hour_later(
    core: Core, clock: Clock
) -> None:
    logins = Logins(core)
    for _ in range(10):
        with pytest.raises(Unauthenticated):
            await log_in(logins, "wrong")
    with pytest.raises(TooMany) as refused:
        await log_in(logins)
    assert refused.value.retry_after == 15 * 60 + 1
    # Its owner, elsewhere, is not shut out.
    assert await logins.log_in("ada@example.org", PASSWORD, "192.0.2.2")
    clock.now += timedelta(minutes=15)
    assert await log_in(logins)


async def test_guesses_from_many_places_are_counted_together(core: Core) -> None:
    logins = Logins(core)
    for n in range(100):
        with pytest.raises(Unauthenticated):
            await logins.log_in("Ada@example.org", "wrong", f"192.0.2.{n}")
    with pytest.raises(TooMany):
        await logins.log_in("ada@example.org", PASSWORD, "198.51.100.1")


async def test_a_place_that_is_stopped_fills_no_windows_of_others(core: Core) -> None:
    tries = {"place": Rates(2, DAY), "both": Rates(10, DAY), "email": Rates(10, DAY)}
    logins = Logins(core, tries=tries)
    refusals: list[type[Exception]] = []
    for n in range(5):
        with pytest.raises((Unauthenticated, TooMany)) as refused:
            await logins.log_in(f"{n}@example.org", "wrong", "192.0.2.1")
        refusals.append(refused.type)
    assert refusals == [Unauthenticated] * 2 + [TooMany] * 3
    assert {kind: len(rates) for kind, rates in tries.items()} == {
        "place": 1,
        "both": 2,
        "email": 2,
    }


async def test_one_place_alone_uses_up_no_emails_tries_elsewhere(core: Core) -> None:
    tries = {"place": Rates(20, DAY), "both": Rates(2, DAY), "email": Rates(5, DAY)}
    logins = Logins(core, tries=tries)
    for _ in range(10):
        with pytest.raises((Unauthenticated, TooMany)):
            await log_in(logins, "wrong")
    assert await logins.log_in("ada@example.org", PASSWORD, "192.0.2.2")


async def test_a_password_hashed_with_old_parameters_is_hashed_anew_at_a_login(
    core: Core, database: Database
) -> None:
    old = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    await database.write(
        lambda connection: stored.update_user(connection, "ada", password_hash=old)
    )
    logins = Logins(core)
    await log_in(logins)
    new = await database.read(lambda connection: stored.read_password_hash(connection, "ada"))
    assert extract_parameters(new).memory_cost == MEMORY_KIB
    await log_in(logins)
