"""No list on PostgreSQL reads more rows the more there are: the planner takes its index."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from coordinator.domain.lifecycle import BuildState
from coordinator.domain.listing import AuditListing, BuildListing, BuildOrder, Scope
from coordinator.services.list_marks import ListMarks
from coordinator.storage.audit import list_audit
from coordinator.storage.builds.build_lists import list_builds
from coordinator.storage.builds.overview import glances
from coordinator.storage.database import Database
from coordinator.storage.marks import Known
from coordinator.storage.postgresql import PostgresPlace
from coordinator.storage.pushes.deliveries import list_deliveries
from tests.benchmarks.list_data import Size, fill
from tests.integration.postgres_plans import Plans
from tests.integration.statements import collected
from tests.postgres_server import PostgresServer

LIMIT, OFFSET = 5, 40
STEP, FAR = 64, 700
SUCCEEDED = frozenset({BuildState.SUCCEEDED})
SIZE = Size(builds=8_000, audit_entries=4_000, deliveries=2_000, crowd=3)
STATES = [
    None,
    frozenset({BuildState.FAILED}),
    frozenset({BuildState.HELD, BuildState.FAILED, BuildState.CANCELLED}),
]


@pytest.fixture
def place(postgres_server: PostgresServer, tmp_path: Path) -> Iterator[PostgresPlace]:
    """Enough of each that a whole table costs more than an index, and counted by ANALYZE."""
    place = postgres_server.new_database()
    fill(tmp_path / "data", SIZE, place)
    yield place
    postgres_server.drop(place)


@pytest.fixture
async def database(place: PostgresPlace) -> AsyncIterator[Database]:
    database = await Database.open(place)
    yield database
    await database.close()


def _lists(scopes: dict[str, Scope], project: str) -> Iterator[tuple[object, Any]]:
    whole, account, of_project = scopes["all"], scopes["account"], scopes["project"]
    for scope, states, order, ascending, offset in product(
        (account, of_project), STATES, BuildOrder, (False, True), (0, OFFSET)
    ):
        listing = BuildListing(
            limit=LIMIT, offset=offset, states=states, order=order, ascending=ascending
        )
        yield (scope, listing), partial(list_builds, scope=scope, listing=listing)
    for scope, branch in ((whole, None), (of_project, "main")):
        listing = BuildListing(limit=LIMIT, offset=OFFSET, branch=branch)
        yield (scope, listing), partial(list_builds, scope=scope, listing=listing)
    for scope, action in product(scopes.values(), (None, "build.created")):
        entries = AuditListing(limit=LIMIT, offset=OFFSET, action=action)
        yield (scope, entries), partial(list_audit, scope=scope, listing=entries)
    yield "deliveries", partial(list_deliveries, project_id=project, limit=LIMIT, offset=OFFSET)


def _middles(scopes: dict[str, Scope], project: str, known: Known) -> Iterator[Any]:
    """Pages that are far from either end of their lists."""
    for (name, scope), states, order, ascending in product(
        scopes.items(), (None, SUCCEEDED), BuildOrder, (False, True)
    ):
        if name != "all" or (states, order) == (None, BuildOrder.CREATED_AT):
            listing = BuildListing(
                limit=LIMIT, offset=FAR, states=states, order=order, ascending=ascending
            )
            yield partial(list_builds, scope=scope, listing=listing, known=known)
    for scope in scopes.values():
        entries = AuditListing(limit=LIMIT, offset=300, action="build.created")
        yield partial(list_audit, scope=scope, listing=entries, known=known)
    yield partial(list_deliveries, project_id=project, limit=LIMIT, offset=FAR, known=known)


@pytest.fixture
def plans(place: PostgresPlace) -> Iterator[Plans]:
    plans = Plans(place)
    yield plans
    plans.close()


@pytest.fixture
def project(place: PostgresPlace, postgres_server: PostgresServer) -> tuple[str, str]:
    """The largest, and its account."""
    query = "SELECT id, account_id FROM projects ORDER BY build_count DESC LIMIT 1"
    [(project, account)] = postgres_server.execute(query, place.name)
    return project, account


def _scopes(project: tuple[str, str]) -> dict[str, Scope]:
    its_id, account = project
    return {
        "all": Scope(account_id=None),
        "account": Scope(account_id=account),
        "project": Scope(account_id=account, project_id=its_id),
    }


async def test_no_list_reads_a_large_table_or_sorts_it(
    database: Database, plans: Plans, project: tuple[str, str]
) -> None:
    assert plans.faults("SELECT id FROM builds ORDER BY reason LIMIT 1", None)
    assert plans.faults("SELECT reason FROM builds WHERE state = 'failed'", None)
    for what, look in _lists(_scopes(project), project[0]):
        with collected() as sent:
            found, total = await database.read(look)
        assert len(found) == LIMIT < total
        for statement, parameters in _asked(sent):
            faults = plans.faults(statement, parameters)
            assert not faults, (what, statement, faults)


async def test_the_home_page_reads_one_row_of_builds_for_each_project(
    database: Database, plans: Plans, project: tuple[str, str]
) -> None:
    for account in (None, project[1]):
        with collected() as sent:
            found = await database.read(partial(glances, account_id=account))
        [(statement, parameters)] = _asked(sent)
        assert all(one.last_build is not None for one in found)
        assert plans.rows_of("builds", statement, parameters) == len(found)


async def test_a_page_in_the_middle_skips_no_more_than_from_a_mark(
    database: Database, plans: Plans, project: tuple[str, str]
) -> None:
    marks = ListMarks()
    await marks.look(database, least=2 * STEP, step=STEP)
    middles = list(_middles(_scopes(project), project[0], marks.known))
    for look in middles:
        with collected() as sent:
            found, total = await database.read(look)
        assert len(found) == LIMIT < total
        for statement, parameters in _asked(sent):
            faults = plans.faults(statement, parameters)
            assert not faults, (look, statement, faults)
            if "OFFSET" in statement:
                walked = plans.walked(statement, parameters)
                assert walked <= STEP + LIMIT, (look, statement, walked)
    assert len(middles) == 30


def _asked(sent: Sequence[tuple[str, Any]]) -> Sequence[tuple[str, Any]]:
    asked = [one for one in sent if "FROM" in one[0] and "pg_" not in one[0]]
    assert asked
    return asked
