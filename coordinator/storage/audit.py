"""The audit log, and how many entries it has: of each project, account and action."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from coordinator.domain.listing import AuditListing, Scope
from coordinator.domain.people.audit_entry import AuditEntry
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.direct_statements import direct
from coordinator.storage.marks import UNMARKED, Known, read_page
from coordinator.storage.pages import Pages, Stretch, shown_rows
from coordinator.storage.rows import columns, reader
from coordinator.storage.tables import audit_counts, audit_log

_entry = reader(AuditEntry)
ALL_PROJECTS = ""
"""No project is named so: the row that counts the entries of every project and of none."""
NO_ACCOUNT = ""

# Both databases know it, but SQLAlchemy has one construct for each.
_ADD = direct(
    sa.text(
        "INSERT INTO audit_counts (project_id, account_id, action, entries)"
        " VALUES (:project_id, :account_id, :action, 1)"
        " ON CONFLICT (project_id, account_id, action)"
        " DO UPDATE SET entries = audit_counts.entries + 1"
    )
)
_APPEND = direct(audit_log.insert())
_SHOWN = shown_rows(audit_log, *columns(AuditEntry, audit_log), audit_log.c.account_id)


async def append_audit(
    connection: AsyncConnection, entry: AuditEntry, account_id: str | None
) -> None:
    values = {
        "id": entry.id,
        "account_id": account_id,
        "project_id": entry.project_id,
        "action": entry.action,
        "details": dict(entry.details),
        "created_at": entry.created_at,
    }
    await connection.execute(_APPEND, values)
    counted = {"account_id": account_id or NO_ACCOUNT, "action": entry.action}
    projects = sorted({ALL_PROJECTS, entry.project_id or ALL_PROJECTS})
    await connection.execute(_ADD, [counted | {"project_id": project} for project in projects])


async def list_audit(
    connection: AsyncConnection, scope: Scope, listing: AuditListing, known: Known = UNMARKED
) -> tuple[Sequence[AuditEntry], int]:
    """The page, newest first, and how many entries its list has."""
    if scope.project_id == ALL_PROJECTS:
        return [], 0
    total = await count_audit(connection, scope, listing.action)
    page = await read_page(
        connection,
        audit_pages(scope, listing),
        _SHOWN,
        _entry,
        total=total,
        limit=listing.limit,
        offset=listing.offset,
        known=known,
    )
    return page, total


def audit_pages(scope: Scope, listing: AuditListing) -> Pages:
    return Pages(table=audit_log, stretches=[_stretch(scope, listing)])


def _stretch(scope: Scope, listing: AuditListing) -> Stretch:
    """A project is of one account: of another's, no entry was counted and none is looked for."""
    of: list[tuple[sa.Column[Any], str]] = []
    if scope.project_id is not None:
        of = [(audit_log.c.project_id, scope.project_id)]
    elif scope.account_id is not None:
        of = [(audit_log.c.account_id, scope.account_id)]
    if listing.action is not None:
        of.append((audit_log.c.action, listing.action))
    return Stretch(of=of)


async def count_audit(connection: AsyncConnection, scope: Scope, action: str | None) -> int:
    """How many entries the list has."""
    counts = audit_counts.c
    query = sa.select(sa.func.coalesce(sa.func.sum(counts.entries), 0)).where(
        counts.project_id == (scope.project_id or ALL_PROJECTS)
    )
    if scope.account_id is not None:
        query = query.where(counts.account_id == scope.account_id)
    if action is not None:
        query = query.where(counts.action == action)
    return int((await connection.execute(query)).scalar_one())
