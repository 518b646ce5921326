"""A database with builds in it, and what its list queries ask of SQLite."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from coordinator.domain.lifecycle import BuildState
from coordinator.domain.model import Account, Build, Project
from coordinator.domain.people.audit_entry import AuditEntry
from coordinator.storage.builds import builds as stored
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.database import Database
from coordinator.storage.people import accounts as stored_accounts
from coordinator.storage.postgresql import PostgresPlace
from coordinator.storage.projects import projects as stored_projects
from tests.empty_database import put_empty_database
from tests.integration.statements import collected

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def after(seconds: float) -> datetime:
    return BEGAN + timedelta(seconds=seconds)


@asynccontextmanager
async def open_database(path: Path) -> AsyncIterator[Database]:
    database = await Database.open(put_empty_database(path.parent))
    try:
        yield database
    finally:
        await database.close()


def account_of(name: str) -> Account:
    return Account(id=name, slug=name, name=name)


def project_of(account: str, name: str) -> Project:
    return Project(
        id=name,
        account_id=account,
        account_slug=account,
        name=name,
        slug=name,
        repo_url=None,
        build_count=0,
        created_at=BEGAN,
        updated_at=BEGAN,
    )


def build_of(project: Project, number: int, **values: Any) -> Build:
    made = {
        "id": f"{project.id}-{number}",
        "project_id": project.id,
        "account_id": project.account_id,
        "workflow_id": None,
        "workflow_name": "ci",
        "number": number,
        "state": BuildState.QUEUED,
        "event": "push",
        "version": 1,
        "branch": "main",
        "created_at": after(number),
        "updated_at": after(number),
    }
    return Build(**(made | values))


def entry_of(number: int, **values: Any) -> AuditEntry:
    made = {
        "id": f"entry-{number}",
        "project_id": "shop",
        "action": "build.created",
        "details": {"number": number},
        "created_at": after(number),
    }
    return AuditEntry(**(made | values))


async def save(connection: AsyncConnection, things: Sequence[Account | Project | Build]) -> None:
    for thing in things:
        match thing:
            case Account():
                await stored_accounts.insert_account(connection, thing, BEGAN)
            case Project():
                await stored_projects.insert_project(connection, thing)
            case Build():
                await stored.insert_build(connection, thing, ())


@dataclass(frozen=True, slots=True)
class Plans:
    """What SQLite does for each SELECT that was sent."""

    path: Path
    sent: Sequence[tuple[str, Any]]

    @property
    def asked(self) -> Sequence[tuple[str, Any]]:
        return [one for one in self.sent if one[0].lstrip().upper().startswith(("SELECT", "WITH"))]

    def steps(self) -> list[str]:
        return [step for _, step in self._explained()]

    def faults(self, *, walked: Collection[str] = ()) -> list[str]:
        """Steps that read more the more there is: a whole table or index, a sort, or all of one
        account or project without a page's limit.

        `walked` are the indexes that may be read from an end on, because a page ends that.
        """
        return [
            step
            for statement, step in self._explained()
            if _grows(step, walked) or ("LIMIT" not in statement and LONG.match(step))
        ]

    def _explained(self) -> Iterator[tuple[str, str]]:
        with closing(sqlite3.connect(self.path)) as connection:
            for statement, parameters in self.asked:
                for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters):
                    yield statement, row[3]


LONG = re.compile(
    r"SEARCH (builds|audit_log|deliveries) "
    r"(?!.*(\((id|ordinal)=\?\)|AND number=\?\))( LEFT-JOIN)?$)"
)
"""Tables of which an account or a project may have any number of rows."""


def _grows(step: str, walked: Collection[str]) -> bool:
    if not step.startswith("SCAN"):
        return "TEMP B-TREE" in step
    if step.startswith(("SCAN (", "SCAN CONSTANT")):  # what a step before it found
        return False
    return step.rpartition(" INDEX ")[2] not in walked


@contextmanager
def explained(path: Path) -> Iterator[Plans]:
    """The plans of the SELECTs sent meanwhile, by whatever engine of this process."""
    with collected() as sent:
        yield Plans(path, sent)


WRONG_COUNTS = (
    """
    WITH counted AS (
        SELECT '' AS branch, account_id, project_id, state, count(*) AS builds
        FROM builds GROUP BY account_id, project_id, state
        UNION ALL
        SELECT branch, account_id, project_id, state, count(*)
        FROM builds WHERE branch <> '' GROUP BY branch, account_id, project_id, state
    )
    SELECT * FROM (SELECT * FROM counted EXCEPT SELECT * FROM build_counts) AS more
    UNION ALL
    SELECT * FROM (SELECT * FROM build_counts WHERE builds <> 0 EXCEPT SELECT * FROM counted)
    AS less
    """,
    """
    WITH counted AS (
        SELECT '' AS project_id, coalesce(account_id, ''), action, count(*)
        FROM audit_log GROUP BY 2, 3
        UNION ALL
        SELECT project_id, coalesce(account_id, ''), action, count(*)
        FROM audit_log WHERE project_id IS NOT NULL GROUP BY 1, 2, 3
    )
    SELECT * FROM (SELECT * FROM counted EXCEPT SELECT * FROM audit_counts) AS more
    UNION ALL
    SELECT * FROM (SELECT * FROM audit_counts EXCEPT SELECT * FROM counted) AS less
    """,
    """
    SELECT id, delivery_count FROM projects
    WHERE delivery_count <> (SELECT count(*) FROM deliveries WHERE project_id = projects.id)
    """,
)


def wrong_counts(place: Path | PostgresPlace) -> list[tuple[Any, ...]]:
    """Counters that are not what a count says, and counts that no counter says."""
    if isinstance(place, PostgresPlace):
        # An engine's first connection would cost more than what is asked, after each test.
        with psycopg.connect(place.url) as asked:
            return [row for query in WRONG_COUNTS for row in asked.execute(query)]
    with closing(sqlite3.connect(place)) as connection:
        return [row for query in WRONG_COUNTS for row in connection.execute(query)]
