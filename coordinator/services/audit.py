"""The audit log: who did what, written in the transaction of the deed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from coordinator.domain.listing import AuditListing, Scope
from coordinator.domain.model import Account, AgentRecord, Build, Image, Project, Step
from coordinator.domain.people.audit_entry import AuditEntry
from coordinator.domain.people.permissions import Principal
from coordinator.domain.people.tokens import Token
from coordinator.domain.people.users import User
from coordinator.services.core import Core, new_id
from coordinator.storage import audit as stored
from coordinator.storage.connection import AsyncConnection

Whose = Account | AgentRecord | Image | Project | Build | Step | User | Principal | Token


@dataclass(frozen=True, slots=True)
class Deed:
    """What somebody does to something: it stands in the log of that thing's account and project,
    and an agent, a build, a step or a user is named in it before the details."""

    core: Core
    by: Principal | None
    of: Whose | None = None

    async def record(self, connection: AsyncConnection, action: str, **details: Any) -> None:
        account_id, project_id, named = _whose(self.of)
        by = {"by": self.by.name} if self.by else {}
        entry = AuditEntry(
            id=new_id(),
            project_id=project_id,
            action=action,
            details=_present({**named, **details, **by}),
            created_at=self.core.now(),
        )
        await stored.append_audit(connection, entry, account_id)


def _present(details: dict[str, Any]) -> dict[str, Any]:
    """Without what is absent, which no JSON of ours shows as null."""
    return {
        name: _present(value) if isinstance(value, dict) else value
        for name, value in details.items()
        if value is not None
    }


def _whose(of: Whose | None) -> tuple[str | None, str | None, dict[str, Any]]:
    """Its account, its project, and what names it."""
    match of:
        case Account():
            return of.id, None, {}
        case Project():
            return of.account_id, of.id, {}
        case Build():
            return of.account_id, of.project_id, {"build": of.id, "number": of.number}
        case Step():
            return of.account_id, of.project_id, {"build": of.build_id, "step": of.id}
        case User():
            return None, None, {"user": of.id, "email": of.email}
        case AgentRecord():
            return of.account_id, None, {"agent": of.id, "name": of.name}
        case Image() | Principal() | Token():
            return of.account_id, None, {}
        case None:
            return None, None, {}


async def list_entries(
    core: Core, principal: Principal, project_id: str | None, listing: AuditListing
) -> tuple[Sequence[AuditEntry], int]:
    """Newest first, and how many there are; of another account's project none."""
    scope = Scope(account_id=principal.account_id, project_id=project_id)
    return await core.database.read(
        lambda connection: stored.list_audit(connection, scope, listing, core.list_marks.known)
    )
