"""Agents: registering them, and which there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from coordinator.domain.model import AgentRecord, Role, Token, TokenKind
from coordinator.domain.people.permissions import Principal, Right
from coordinator.services.audit import Deed
from coordinator.services.core import Core, new_id
from coordinator.services.keys import hash_token, new_token
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.people import accounts as stored


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    agent: AgentRecord
    secret: str = field(repr=False)
    """Its credential, which is stored nowhere."""
    previous_id: str | None
    """The agent that it was before, whose credential was revoked."""


async def register_agent(
    core: Core,
    principal: Principal,
    *,
    name: str,
    labels: dict[str, str],
    slots: int,
    previous: str | None = None,
) -> Registered:
    """`previous` is a credential; one that is not known, not revoked, or of an account that is not
    the registrant's means nothing."""
    principal.require(Right.REGISTER)
    now = core.now()
    agent = AgentRecord(
        id=new_id(),
        account_id=principal.account_id,
        name=name,
        labels=labels,
        slots=slots,
        created_at=now,
        last_seen_at=now,
    )
    secret = new_token()
    token = Token(
        id=new_id(),
        kind=TokenKind.AGENT,
        name=f"agent {name}",
        role=Role.AGENT,
        account_id=principal.account_id,
        agent_id=agent.id,
        user_id=None,
        created_at=now,
        expires_at=None,
        last_used_at=None,
    )

    async def save(connection: AsyncConnection) -> str | None:
        previous_id = await _previous_agent(connection, principal, previous)
        await stored.insert_agent(connection, agent)
        await stored.insert_token(connection, token, hash_token(secret))
        before = {"previous": previous_id} if previous_id else {}
        await Deed(core, principal, principal).record(
            connection, "agent.registered", agent=agent.id, name=name, **before
        )
        return previous_id

    return Registered(agent=agent, secret=secret, previous_id=await core.database.write(save))


async def _previous_agent(
    connection: AsyncConnection, principal: Principal, previous: str | None
) -> str | None:
    """Whoever has a credential has been the agent; while it is valid, the agent may be at work."""
    if previous is None:
        return None
    token = await stored.find_revoked_agent_token(connection, hash_token(previous))
    if token is None or principal.account_id not in (None, token.account_id):
        return None
    return token.agent_id


async def list_agents(core: Core, principal: Principal) -> Sequence[AgentRecord]:
    principal.require(Right.READ)
    return await core.database.read(
        lambda connection: stored.list_agents(connection, principal.account_id)
    )
