"""The lists beside builds: audit log, deliveries, images, agents; pages and totals, and whose."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from coordinator.domain.listing import AuditListing, Scope
from coordinator.domain.model import AgentRecord, Image
from coordinator.domain.people.audit_entry import AuditEntry
from coordinator.domain.pushes.deliveries import Delivery, DeliveryState
from coordinator.storage import migrate
from coordinator.storage.audit import append_audit, list_audit
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.database import Database
from coordinator.storage.people import accounts as stored_accounts
from coordinator.storage.projects import projects as stored_projects
from coordinator.storage.pushes import deliveries as stored_deliveries
from tests.integration.coordinator_fixture import Caller, open_coordinator
from tests.integration.list_fixture import (
    account_of,
    after,
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


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pushrod.db"


@pytest.fixture
async def database(path: Path) -> AsyncIterator[Database]:
    async with open_database(path) as database:
        things = [account_of("acme"), account_of("other"), SHOP, SITE, THEIRS]
        await database.write(partial(save, things=things))
        yield database


# The audit log

Owned = tuple[str | None, AuditEntry]


def many_entries() -> list[Owned]:
    """Of every project and of none, two in the same microsecond."""
    places = [("acme", "shop"), ("acme", "site"), ("acme", None), ("other", "theirs"), (None, None)]
    return [
        (
            places[n % 5][0],
            entry_of(
                n,
                project_id=places[n % 5][1],
                action=("a", "b", "c")[n % 3],
                created_at=after(n // 2),
            ),
        )
        for n in range(60)
    ]


async def append_all(connection: AsyncConnection, entries: Sequence[Owned]) -> None:
    for account_id, entry in entries:
        await append_audit(connection, entry, account_id)


@pytest.mark.parametrize("account_id", [None, "acme", "other"])
async def test_the_pages_of_the_audit_log_put_together_are_what_was_asked_for(
    database: Database, path: Path, account_id: str | None
) -> None:
    entries = many_entries()
    await database.write(partial(append_all, entries=entries))
    assert not wrong_counts(path)
    for project_id, action in product((None, "shop", "theirs", "no such", ""), (None, "a", "no")):
        wanted = [
            entry
            for owner, entry in entries
            if account_id in (None, owner)
            and project_id in (None, entry.project_id)
            and action in (None, entry.action)
        ]
        scope, found = Scope(account_id=account_id, project_id=project_id), list[AuditEntry]()
        for offset in range(0, 66, 6):
            listing = AuditListing(limit=6, offset=offset, action=action)
            page, total = await database.read(partial(list_audit, scope=scope, listing=listing))
            assert total == len(wanted)
            found += page
        assert sorted(e.id for e in found) == sorted(e.id for e in wanted), (project_id, action)
        ages = [entry.created_at for entry in found]
        assert ages == sorted(ages, reverse=True)


def test_entries_of_before_the_counters_are_counted(path: Path) -> None:
    migrate.upgrade(path, "0004")
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "INSERT INTO accounts VALUES ('acme', 'acme', 'acme', 0);"
            "INSERT INTO projects (id, account_id, name, slug, build_count, created_at, updated_at)"
            " VALUES ('shop', 'acme', 'shop', 'shop', 0, 0, 0);"
        )
        rows = [("1", "acme", "shop", "a"), ("2", "acme", None, "a"), ("3", None, None, "b")]
        connection.executemany("INSERT INTO audit_log VALUES (?, ?, ?, ?, '{}', 0)", rows)
        connection.execute(
            "INSERT INTO deliveries (id, project_id, account_id, delivery_id, forge, event, state,"
            " payload, builds, attempts, received_at)"
            " VALUES ('1', 'shop', 'acme', 'x', 'github', 'ping', 'ignored', '{}', '[]', 0, 0)"
        )
        connection.commit()
    migrate.migrate(path)
    assert not wrong_counts(path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT sum(entries) FROM audit_counts").fetchone() == (4,)
        assert connection.execute("SELECT delivery_count FROM projects").fetchone() == (1,)


# Deliveries


async def test_the_pages_of_deliveries_put_together_are_all_of_them(
    database: Database, path: Path
) -> None:
    async def receive(connection: AsyncConnection) -> None:
        for n in range(25):
            await stored_deliveries.insert_delivery(connection, _delivery(n))

    await database.write(receive)
    assert not wrong_counts(path)
    found: list[str] = []
    for offset in range(0, 30, 4):
        look = partial(stored_deliveries.list_deliveries, project_id="shop", limit=4, offset=offset)
        page, total = await database.read(look)
        assert total == 25
        found += [delivery.delivery_id for delivery in page]
    assert found == [str(n) for n in reversed(range(25))]


def _delivery(number: int) -> Delivery:
    return Delivery(
        id=f"delivery-{number:02}",
        project_id="shop",
        account_id="acme",
        delivery_id=str(number),
        forge="github",
        event="push",
        state=DeliveryState.IGNORED,
        payload={},
        received_at=after(number // 2),
    )


# Images and agents


async def test_an_account_sees_its_images_and_everybodys_public_ones_by_slug(
    database: Database,
) -> None:
    images = [
        ("acme", "b", False),
        ("acme", "d", True),
        ("other", "a", True),
        ("other", "c", False),
    ]

    async def register(connection: AsyncConnection) -> None:
        for account, slug, public in images:
            image = Image(
                id=slug,
                account_id=account,
                slug=slug,
                image_url="docker://x",
                public=public,
                shared=public,
                created_at=after(0),
            )
            await stored_projects.insert_image(connection, image)

    await database.write(register)
    for account, public_only, slugs in (
        ("acme", False, "abd"),
        ("acme", True, "ad"),
        ("other", False, "acd"),
        (None, False, "abcd"),
        (None, True, "ad"),
    ):
        look = partial(stored_projects.list_images, account_id=account, public_only=public_only)
        assert "".join(image.slug for image in await database.read(look)) == slugs


async def test_an_account_sees_its_agents_and_those_of_all_newest_first(
    database: Database,
) -> None:
    async def register(connection: AsyncConnection) -> None:
        for n, account in enumerate(["acme", None, "other", "acme"]):
            agent = AgentRecord(
                id=str(n),
                account_id=account,
                name=f"agent {n}",
                labels={"n": str(n)},
                slots=1,
                created_at=after(n),
                last_seen_at=after(n),
            )
            await stored_accounts.insert_agent(connection, agent)

    await database.write(register)
    for account, ids in (("acme", "310"), ("other", "21"), (None, "3210")):
        found = await database.read(partial(stored_accounts.list_agents, account_id=account))
        assert "".join(agent.id for agent in found) == ids
        assert [agent.labels for agent in found] == [{"n": agent.id} for agent in found]


async def test_another_accounts_project_has_no_audit_entries(tmp_path: Path) -> None:
    async with open_coordinator(tmp_path) as coordinator:
        project = await coordinator.admin.new_project("acme")
        stranger = await coordinator.admin.new_token(role="maintainer", account="other")
        for caller, total in ((coordinator.admin, 1), (stranger, 0)):
            answer = await caller.get(f"/api/audit-logs?projectId={project['id']}")
            page = answer.expect(200).json
            assert page["pagination"]["total"] == len(page["auditLogs"]) == total


# The overview


@pytest.mark.usefixtures("each_database")
async def test_the_overview_has_every_project_with_its_last_build_and_the_newest_of_all(
    tmp_path: Path,
) -> None:
    async with open_coordinator(tmp_path) as coordinator:
        admin = coordinator.admin
        viewer = await admin.new_token(role="viewer", account="acme")
        empty = {"projects": [], "builds": []}
        assert (await viewer.get("/api/overview")).expect(200).json == empty
        shop, site, theirs = [
            await admin.new_project(account, name)
            for account, name in (("acme", "shop"), ("acme", "site"), ("other", "theirs"))
        ]
        made = [await admin.new_build(project) for project in (shop, theirs, shop)]
        seen = (await viewer.get("/api/overview")).expect(200).json
        projects = {project["name"]: project for project in seen["projects"]}
        assert projects.keys() == {"shop", "site"}
        assert projects["site"] == {"id": site["id"], "account": "acme", "name": "site"}
        last = projects["shop"]["lastBuild"]
        assert (last["id"], last["number"], last["state"]) == (made[2]["id"], 2, "queued")
        assert [build["id"] for build in seen["builds"]] == [made[2]["id"], made[0]["id"]]
        everything = (await admin.get("/api/overview")).expect(200).json
        assert len(everything["projects"]) == 3
        assert [build["id"] for build in everything["builds"]] == [b["id"] for b in made[::-1]]
        await admin.post(f"/api/projects/-/builds/{made[2]['id']}/cancel")
        again = (await viewer.get("/api/overview")).expect(200).json
        states = {one["name"]: one.get("lastBuild", {}).get("state") for one in again["projects"]}
        assert states == {"shop": "cancelled", "site": None}


@pytest.mark.usefixtures("each_database")
async def test_a_list_shows_each_project_as_it_is_now(tmp_path: Path) -> None:
    async with open_coordinator(tmp_path) as coordinator:
        admin = coordinator.admin
        made = [await admin.new_project("acme", name) for name in ("shop", "site")]
        assert await _listed(admin) == [await _alone(admin, one["id"]) for one in made]
        changed = f"/api/projects/{made[1]['id']}"
        for change in ({"name": "fair"}, {"archived": True}, {"publicBadges": True}):
            await admin.call("PATCH", changed, json=change)
            assert await _listed(admin) == [await _alone(admin, one["id"]) for one in made]
        by_id = (await admin.get(f"/api/projects?accountId={made[0]['accountUuid']}")).json
        assert [one["accountId"] for one in by_id] == [made[0]["accountUuid"]] * 2


async def _listed(admin: Caller) -> list[Any]:
    return list((await admin.get("/api/projects?accountId=acme")).expect(200).json)


async def _alone(admin: Caller, project_id: str) -> dict[str, Any]:
    """As a list has it, which looks into no repository."""
    shown = (await admin.get(f"/api/projects/{project_id}")).expect(200).json
    return {key: value for key, value in shown.items() if key != "defaultBranch"}
