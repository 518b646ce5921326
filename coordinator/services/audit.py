"""The audit log: who did what, written in the transaction of the deed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from coordinator.domain.listing import AuditListing, Scope
from coordinator.domain.model import AuditEntry
from coordinator.domain.people.permissions import Principal
from coordinator.services.core import Core, new_id
from coordinator.storage import audit as stored
from coordinator.storage.connection import AsyncConnection


async def record(
    core: Core,
    connection: AsyncConnection,
    action: str,
    principal: Principal | None,
    *,
    account_id: str | None,
    project_id: str | None = None,
    **details: Any,
) -> None:
    entry = AuditEntry(
        id=new_id(),
        project_id=project_id,
        action=action,
        details=details | ({"by": principal.name} if principal else {}),
        created_at=core.now(),
    )
    await stored.append_audit(connection, entry, account_id)


async def list_entries(
    core: Core, principal: Principal, project_id: str | None, listing: AuditListing
) -> tuple[Sequence[AuditEntry], int]:
    """Newest first, and how many there are; of another account's project none."""
    scope = Scope(account_id=principal.account_id, project_id=project_id)
    return await core.database.read(
        lambda connection: stored.list_audit(connection, scope, listing)
    )
