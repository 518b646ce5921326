"""One list of builds: its pages are those of the whole list, its total that of a count."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from coordinator.domain.lifecycle import BUILD_TABLE, BuildState
from coordinator.domain.listing import BuildListing, BuildOrder, Scope
from coordinator.domain.model import Build
from coordinator.storage import migrate
from coordinator.storage.audit import append_audit
from coordinator.storage.builds import builds as stored
from coordinator.storage.builds.build_counts import count_builds
from coordinator.storage.builds.build_deletion import delete_builds
from coordinator.storage.builds.build_lists import list_builds
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.database import Database
from tests.integration.coordinator_fixture import Caller, open_coordinator, step_of
from tests.integration.list_fixture import (
    account_of,
    after,
    build_of,
    entry_of,
    open_database,
    project_of,
    save,
    wrong_counts,
)

SHOP, SITE, THEIRS = (
    project_of("acme", "shop"),
    project_of("acme", "site"),
    project_of("other", "theirs"),
)
EVERYBODY = Scope(account_id=None)
ACME = Scope(account_id="acme")
OF_SHOP = Scope(account_id="acme", project_id="shop")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pushrod.db"


@pytest.fixture
async def database(path: Path) -> AsyncIterator[Database]:
    async with open_database(path) as database:
        things = [account_of("acme"), account_of("other"), SHOP, SITE, THEIRS]
        await database.write(partial(save, things=things))
        yield database


def many_builds(seed: int = 7) -> list[Build]:
    """Some made or changed in the same microsecond, some of no branch."""
    chance = random.Random(seed)
    return [
        build_of(
            project,
            number,
            state=chance.choice(list(BuildState)),
            branch=chance.choice(["main", "main", "dev", "", None]),
            created_at=after(number // 2),
            updated_at=after(chance.randrange(12)),
        )
        for number in range(1, 21)
        for project in (SHOP, SITE, THEIRS)
    ]


def expected(builds: Sequence[Build], scope: Scope, listing: BuildListing) -> list[Build]:
    """The whole list, as plain Python has it."""
    chosen = [
        build
        for build in builds
        if scope.account_id in (None, build.account_id)
        and scope.project_id in (None, build.project_id)
        and (listing.states is None or build.state in listing.states)
        and (not listing.branch or build.branch == listing.branch)
    ]
    return sorted(
        chosen,
        key=lambda build: (getattr(build, listing.order.value), *_tie(scope, build)),
        reverse=not listing.ascending,
    )


def _tie(scope: Scope, build: Build) -> tuple[Any, ...]:
    return (build.number if scope.project_id and build else build.id, build.id)


@pytest.mark.usefixtures("each_database")
@pytest.mark.parametrize("order", list(BuildOrder))
@pytest.mark.parametrize("scope", [ACME, OF_SHOP], ids=["account", "project"])
async def test_the_pages_put_together_are_the_list(
    database: Database, scope: Scope, order: BuildOrder
) -> None:
    builds = many_builds()
    await database.write(partial(save, things=builds))
    some = frozenset({BuildState.HELD, BuildState.QUEUED, BuildState.FAILED})
    filters = product(
        (None, frozenset({BuildState.RUNNING}), some, frozenset[BuildState]()),
        (None, "main", "no such") if scope is OF_SHOP else (None,),
        (False, True),
    )
    for states, branch, ascending in filters:
        found: list[str] = []
        for offset in range(0, 60, 7):
            listing = BuildListing(
                limit=7,
                offset=offset,
                states=states,
                branch=branch,
                order=order,
                ascending=ascending,
            )
            page, total = await database.read(partial(list_builds, scope=scope, listing=listing))
            found += [build.id for build in page]
            wanted = expected(builds, scope, listing)
            assert total == len(wanted)
            assert len(page) == len(wanted[offset : offset + 7])
        keys = [_key(builds, key, order) for key in found]
        assert keys == [getattr(build, order.value) for build in wanted]
        assert sorted(found) == sorted(build.id for build in wanted)


def _key(builds: Sequence[Build], build_id: str, order: BuildOrder) -> object:
    return next(getattr(build, order.value) for build in builds if build.id == build_id)


async def test_over_everybody_builds_are_listed_by_age(database: Database) -> None:
    builds = many_builds()
    await database.write(partial(save, things=builds))
    for states in (None, frozenset({BuildState.FAILED, BuildState.CANCELLED})):
        listing = BuildListing(limit=100, states=states)
        page, total = await database.read(partial(list_builds, scope=EVERYBODY, listing=listing))
        wanted = expected(builds, EVERYBODY, listing)
        assert [build.created_at for build in page] == [build.created_at for build in wanted]
        assert total == len(page) == len(wanted)


async def test_a_page_far_beyond_the_end_is_empty(database: Database) -> None:
    await database.write(partial(save, things=many_builds()))
    listing = BuildListing(limit=100, offset=2**63 - 1)
    page, total = await database.read(partial(list_builds, scope=ACME, listing=listing))
    assert (list(page), total) == ([], 40)


async def test_a_counter_that_lies_shows_nothing_of_anybody_else(
    database: Database, path: Path
) -> None:
    await database.write(partial(save, things=many_builds()))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE build_counts SET builds = builds + 100")
        connection.commit()
    for scope, order, ascending in product((ACME, OF_SHOP), BuildOrder, (False, True)):
        listing = BuildListing(limit=100, order=order, ascending=ascending)
        page, _ = await database.read(partial(list_builds, scope=scope, listing=listing))
        assert {build.account_id for build in page} == {"acme"}
        assert scope is ACME or {build.project_id for build in page} == {"shop"}


# Counters


async def test_the_counters_follow_every_move_a_build_can_make(
    database: Database, path: Path
) -> None:
    number = 0
    for branch, ((state, _), becomes) in product(("main", "", None), BUILD_TABLE.items()):
        number += 1
        build = build_of(SHOP, number, state=state, branch=branch)
        await database.write(partial(save, things=[build]))
        assert not wrong_counts(path), (state, becomes)
        move = partial(stored.update_build, build_id=build.id, now=after(1), state=becomes.value)
        await database.write(move)
        assert not wrong_counts(path), (state, becomes)
        counted = partial(count_builds, scope=OF_SHOP, states={becomes}, branch="main")
        assert await database.read(counted) > 0 or branch != "main"
    for left in range(number):
        await database.write(partial(delete_builds, build_ids=[f"shop-{left + 1}"]))
        assert not wrong_counts(path), left
        assert await database.read(partial(count_builds, scope=ACME)) == number - left - 1


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE builds SET state = 'failed'",
        "UPDATE build_counts SET builds = 2 WHERE branch = 'main'",
        "DELETE FROM builds",
        "UPDATE audit_counts SET entries = 2",
        "DELETE FROM audit_log",
        "UPDATE projects SET delivery_count = 1",
    ],
)
async def test_counters_that_are_wrong_are_noticed(
    database: Database, path: Path, change: str
) -> None:
    await database.write(partial(save, things=[build_of(SHOP, 1)]))
    await database.write(partial(append_audit, entry=entry_of(1), account_id="acme"))
    assert not wrong_counts(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(change)
        connection.commit()
    assert wrong_counts(path)


async def test_a_move_that_is_undone_is_not_counted(database: Database, path: Path) -> None:
    build = build_of(SHOP, 1)
    await database.write(partial(save, things=[build]))

    async def fail(connection: AsyncConnection) -> None:
        await stored.update_build(connection, build.id, now=after(1), state="failed")
        raise LookupError

    with pytest.raises(LookupError):
        await database.write(fail)
    assert not wrong_counts(path)
    failed = partial(count_builds, scope=ACME, states={BuildState.FAILED})
    assert await database.read(failed) == 0


async def test_a_change_sets_when_the_build_was_updated(database: Database) -> None:
    build = build_of(SHOP, 1)
    await database.write(partial(save, things=[build]))
    await database.write(partial(stored.update_build, build_id=build.id, now=after(77)))
    changed = await database.read(partial(stored.find_build, build_id=build.id))
    assert changed is not None
    assert (changed.updated_at, changed.version) == (after(77), 2)


def test_builds_of_before_the_counters_are_counted(path: Path) -> None:
    migrate.upgrade(path, "0003")
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "INSERT INTO accounts VALUES ('acme', 'acme', 'acme', 0);"
            "INSERT INTO projects (id, account_id, name, slug, build_count, created_at, updated_at)"
            " VALUES ('shop', 'acme', 'shop', 'shop', 3, 0, 0);"
        )
        names = "id, project_id, account_id, workflow_name, number, state, event, version, problems"
        connection.executemany(
            f"INSERT INTO builds ({names}, branch, created_at, started_at, finished_at)"
            " VALUES (?, 'shop', 'acme', 'ci', ?, ?, 'push', 1, '[]', ?, 10, ?, ?)",
            [
                ("1", 1, "failed", "main", 20, 30),
                ("2", 2, "running", None, 40, None),
                ("3", 3, "queued", "", None, None),
            ],
        )
        connection.commit()
    migrate.migrate(path)
    assert not wrong_counts(path)
    with closing(sqlite3.connect(path)) as connection:
        updated = connection.execute("SELECT updated_at FROM builds ORDER BY number").fetchall()
        assert updated == [(30,), (40,), (10,)]


# Deleting


async def test_a_deleted_build_takes_all_its_own_along(tmp_path: Path) -> None:
    async with open_coordinator(tmp_path) as coordinator:
        admin = coordinator.admin
        project = await admin.new_project()
        kept, gone = [await _finished(admin, project) for _ in range(2)]
        retried = (await admin.post(f"/api/projects/{project['id']}/builds/{gone}/retry")).expect(
            201
        )
        assert retried.json["retryOf"] == gone
        await coordinator.stop()
        database = await Database.open(coordinator.data / "pushrod.db")
        try:
            assert await database.write(partial(delete_builds, build_ids=[gone])) == 1
            assert await database.write(partial(delete_builds, build_ids=[gone])) == 0
        finally:
            await database.close()
        assert not wrong_counts(coordinator.data / "pushrod.db")
        with closing(sqlite3.connect(coordinator.data / "pushrod.db")) as connection:
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
            for table in ("attempts", "artifacts"):
                query = f"SELECT DISTINCT build_id FROM {table} JOIN steps ON steps.id = step_id"
                assert connection.execute(query).fetchall() == [(kept,)]
        await coordinator.start()
        answer = (await admin.get(f"/api/projects/{project['id']}/builds")).expect(200).json
        assert [build["id"] for build in answer["builds"]] == [retried.json["id"], kept]
        assert answer["pagination"]["total"] == 2
        assert "retryOf" not in answer["builds"][0]
        await admin.new_build(project, step_of("next"))
        assert [build["number"] for build in await admin.builds(project)] == [4, 3, 1]


async def _finished(admin: Caller, project: dict[str, Any]) -> str:
    """The id of a build with an attempt and an artifact."""
    agent = await admin.new_agent()
    await admin.new_build(project, step_of("only"))
    spec = await agent.take()
    (await agent.upload(spec, "out", b"artifact")).expect(201)
    (await agent.complete(spec)).expect(200)
    return str(spec["buildId"])
