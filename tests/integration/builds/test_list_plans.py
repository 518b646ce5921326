"""No list reads more the more there is: its indexes have its order and its conditions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from functools import partial
from itertools import product
from pathlib import Path

import pytest
import sqlalchemy as sa

from coordinator.domain.errors import Invalid
from coordinator.domain.lifecycle import BuildState
from coordinator.domain.listing import BuildListing, BuildOrder, Scope
from coordinator.services.list_marks import ListMarks
from coordinator.storage.builds.build_lists import list_builds, pages_of
from coordinator.storage.database import Database
from tests.integration.coordinator_fixture import open_coordinator
from tests.integration.list_fixture import (
    account_of,
    build_of,
    explained,
    open_database,
    project_of,
    save,
)

STATES = [
    None,
    frozenset({BuildState.FAILED}),
    frozenset({BuildState.HELD, BuildState.QUEUED}),
    frozenset(BuildState),
]
EVERYBODY = Scope(account_id=None)
ACCOUNT = Scope(account_id="acme")
PROJECT = Scope(account_id="acme", project_id="shop")


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    """One build of every state, so that no list is empty and unasked."""
    shop = project_of("acme", "shop")
    builds = [build_of(shop, n, state=state) for n, state in enumerate(BuildState, 1)]
    async with open_database(tmp_path / "pushrod.db") as database:
        await database.write(
            lambda connection: save(connection, [account_of("acme"), shop, *builds])
        )
        yield database


def listings() -> Iterator[tuple[Scope, BuildListing]]:
    orders = list(product(BuildOrder, (False, True), (0, 4)))
    for scope, states, (order, ascending, offset) in product((ACCOUNT, PROJECT), STATES, orders):
        for branch in (None, "main") if scope is PROJECT else (None,):
            listing = BuildListing(
                limit=2,
                offset=offset,
                states=states,
                branch=branch,
                order=order,
                ascending=ascending,
            )
            yield scope, listing
    for states in STATES:
        yield EVERYBODY, BuildListing(limit=2, states=states)


async def test_every_list_of_builds_stands_on_an_index(database: Database, tmp_path: Path) -> None:
    for scope, listing in listings():
        with explained(tmp_path / "pushrod.db") as plans:
            found, total = await database.read(partial(list_builds, scope=scope, listing=listing))
        assert total >= len(found)
        faults = plans.faults(walked=["ix_builds_ordinal"])
        assert not faults, (scope, listing, faults)
        wanted = f" COVERING INDEX {_index(scope, listing)}"
        steps = plans.steps()
        assert not found or any(wanted in f"{step} " for step in steps), (wanted, steps)


@pytest.mark.parametrize("states", [None, frozenset({BuildState.SUCCEEDED})])
@pytest.mark.parametrize("order", BuildOrder)
@pytest.mark.parametrize("scope", [ACCOUNT, PROJECT])
async def test_a_page_in_the_middle_begins_at_a_mark(
    database: Database,
    tmp_path: Path,
    scope: Scope,
    order: BuildOrder,
    states: frozenset[BuildState] | None,
) -> None:
    shop = project_of("acme", "shop")
    more = [build_of(shop, n, state=BuildState.SUCCEEDED) for n in range(20, 60)]
    await database.write(lambda connection: save(connection, more))
    marks = ListMarks()
    await marks.look(database, least=8, step=4)
    for ascending in (False, True):
        listing = BuildListing(limit=2, offset=20, states=states, order=order, ascending=ascending)
        look = partial(list_builds, scope=scope, listing=listing, known=marks.known)
        with explained(tmp_path / "pushrod.db") as plans:
            found, _ = await database.read(look)
        assert len(found) == 2
        assert not plans.faults(walked=["SCAN above_it"])
        by = pages_of(scope, listing).by
        key = f"({by},ordinal)" if by else "ordinal"
        assert any(
            f"COVERING INDEX {_index(scope, listing)}" in step and f"{key}{way}" in step
            for step in plans.steps()
            for way in "<>"
        ), plans.steps()


def _index(scope: Scope, listing: BuildListing) -> str:
    """The index made for it."""
    parts = ["ix_builds"]
    if scope is not EVERYBODY:
        parts.append("account" if scope is ACCOUNT else "project")
    if listing.branch and listing.order is not BuildOrder.UPDATED_AT:
        parts.append("branch")
    elif listing.states and len(listing.states) < len(BuildState) and not listing.branch:
        parts.append("state")
    if listing.order is BuildOrder.UPDATED_AT:
        parts.append("updated")
    elif listing.order is BuildOrder.NUMBER and scope is ACCOUNT:
        parts.append("number")
    return f"{'_'.join(parts) if len(parts) > 1 else 'ix_builds_ordinal'} "


@pytest.mark.parametrize(
    "listing",
    [BuildListing(limit=1, branch="main"), BuildListing(limit=1, order=BuildOrder.NUMBER)],
)
async def test_a_list_without_an_index_is_refused(
    database: Database, listing: BuildListing
) -> None:
    with pytest.raises(Invalid, match="name a project"):
        await database.read(lambda connection: list_builds(connection, EVERYBODY, listing))


@pytest.mark.parametrize(
    "query",
    [
        "SELECT id FROM builds ORDER BY reason",
        "SELECT id FROM builds WHERE account_id = 'acme' ORDER BY commit_hash LIMIT 1",
        "SELECT count(*) FROM steps WHERE name = 'x'",
        "SELECT count(*) FROM builds WHERE account_id = 'acme'",
        "SELECT reason FROM builds WHERE account_id = 'acme' AND state IN ('held', 'failed')",
    ],
)
async def test_what_grows_is_noticed(database: Database, tmp_path: Path, query: str) -> None:
    with explained(tmp_path / "pushrod.db") as plans:
        await database.read(lambda connection: connection.execute(sa.text(query)))
    assert plans.faults()


# Every list over HTTP, with all that its handler asks besides

EVERY_LIST = [
    "/api/accounts",
    "/api/overview",
    "/api/projects?accountId={account}",
    "/api/projects/{project}/workflows",
    "/api/projects/{project}/builds?limit=1",
    "/api/projects/{project}/builds?limit=1&offset=1",
    "/api/projects/-/builds?limit=1",
    "/api/projects/-/builds?limit=1&offset=1",
    "/api/projects/-/builds/{build}",
    "/api/projects/{project}/deliveries",
    "/api/projects/{project}/secrets",
    "/api/steps/{step}/artifacts",
    "/api/docker-images",
    "/api/docker-images?public=true",
    "/api/docker-images?public=false",
    "/api/audit-logs?limit=1",
    "/api/audit-logs?limit=1&offset=3",
    "/api/audit-logs?action=build.created",
    "/api/audit-logs?projectId={project}",
    "/api/audit-logs?projectId={project}&action=build.created&offset=1",
    "/api/tokens",
    "/api/agents",
    "/api/accounts/{account}/registries",
    "/api/projects/{project}/registries",
    "/api/v1/builds?limit=1&page=2",
    "/api/v1/builds?status=queued&sort_by=updated_at&sort_order=asc",
    "/api/v1/builds?project_id={project}&status=in_progress&sort_by=build_number",
]
WALKED = [
    # Whole, and in its order, because it is what the list shows.
    "sqlite_autoindex_accounts_2",
    "ix_images_slug",
    "ix_agents_created_at",
    "ix_tokens_shown",
    "ix_images_public",
    "SCAN projects",
    # From an end on, as far as the page goes.
    "ix_builds_ordinal",
    "ix_audit_log_ordinal",
]


async def test_every_list_over_http_stands_on_an_index(tmp_path: Path) -> None:
    async with open_coordinator(tmp_path) as coordinator:
        admin = coordinator.admin
        maintainer = await admin.new_token(role="maintainer", account="default")
        project = await admin.new_project()
        agent = await admin.new_agent()
        for _ in range(2):
            await admin.new_build(project)
        spec = await agent.take()
        places = {
            "account": project["accountUuid"],
            "project": project["id"],
            "build": spec["buildId"],
            "step": spec["stepId"],
        }
        for caller, path in product((admin, maintainer), EVERY_LIST):
            with explained(coordinator.data / "pushrod.db") as plans:
                tenant = {"X-Tenant-ID": project["accountUuid"]}
                (await caller.call("GET", path.format(**places), headers=tenant)).expect(200)
            faults = plans.faults(walked=WALKED)
            assert not faults, (path, caller is admin, faults)
