"""The audit log, and how many entries it has: of each project, account and action."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from coordinator.domain.listing import AuditListing, Scope, window_of
from coordinator.domain.model import AuditEntry
from coordinator.storage.pages import page_ids, rows_of
from coordinator.storage.rows import columns, reader
from coordinator.storage.tables import audit_counts, audit_log

_entry = reader(AuditEntry)
ALL_PROJECTS = ""
"""No project is named so: the row that counts the entries of every project and of none."""
NO_ACCOUNT = ""

# Both databases know it, but SQLAlchemy has one construct for each.
_ADD = sa.text(
    "INSERT INTO audit_counts (project_id, account_id, action, entries)"
    " VALUES (:project_id, :account_id, :action, 1)"
    " ON CONFLICT (project_id, account_id, action)"
    " DO UPDATE SET entries = audit_counts.entries + 1"
)


async def append_audit(
    connection: AsyncConnection, entry: AuditEntry, account_id: str | None
) -> None:
    await connection.execute(
        audit_log.insert().values(
            id=entry.id,
            account_id=account_id,
            project_id=entry.project_id,
            action=entry.action,
            details=dict(entry.details),
            created_at=entry.created_at,
        )
    )
    counted = {"account_id": account_id or NO_ACCOUNT, "action": entry.action}
    projects = {ALL_PROJECTS, entry.project_id or ALL_PROJECTS}
    await connection.execute(_ADD, [counted | {"project_id": project} for project in projects])


async def list_audit(
    connection: AsyncConnection, scope: Scope, listing: AuditListing
) -> tuple[Sequence[AuditEntry], int]:
    """The page, newest first, and how many entries its list has."""
    if scope.project_id == ALL_PROJECTS:
        return [], 0
    total = await _count(connection, scope, listing.action)
    window = window_of(total=total, limit=listing.limit, offset=listing.offset)
    keys = ("created_at", "id")
    ids = await page_ids(connection, [_arm(scope, listing)], keys, ascending=False, window=window)
    shown = sa.select(*columns(AuditEntry, audit_log))
    if scope.account_id is not None:
        shown = shown.where(audit_log.c.account_id == scope.account_id)
    return await rows_of(connection, shown, audit_log.c.id, ids, _entry), total


def _arm(scope: Scope, listing: AuditListing) -> sa.Select[Any]:
    """Of a project's entries the index has not the account; where it is another's, none count."""
    query = sa.select(audit_log.c.id, audit_log.c.created_at)
    if scope.project_id is not None:
        query = query.where(audit_log.c.project_id == scope.project_id)
    elif scope.account_id is not None:
        query = query.where(audit_log.c.account_id == scope.account_id)
    return query if listing.action is None else query.where(audit_log.c.action == listing.action)


async def _count(connection: AsyncConnection, scope: Scope, action: str | None) -> int:
    counts = audit_counts.c
    query = sa.select(sa.func.coalesce(sa.func.sum(counts.entries), 0)).where(
        counts.project_id == (scope.project_id or ALL_PROJECTS)
    )
    if scope.account_id is not None:
        query = query.where(counts.account_id == scope.account_id)
    if action is not None:
        query = query.where(counts.action == action)
    return int((await connection.execute(query)).scalar_one())
