"""Agents: registering them, and which there are."""

from __future__ import annotations

from collections.abc import Sequence

from coordinator.domain.model import AgentRecord, Role, Token, TokenKind
from coordinator.domain.people.permissions import Principal, Right
from coordinator.services import audit
from coordinator.services.core import Core, new_id
from coordinator.services.keys import hash_token, new_token
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.people import accounts as stored


async def register_agent(
    core: Core, principal: Principal, *, name: str, labels: dict[str, str], slots: int
) -> tuple[AgentRecord, str]:
    """The agent and its credential, which is stored nowhere."""
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

    async def save(connection: AsyncConnection) -> None:
        await stored.insert_agent(connection, agent)
        await stored.insert_token(connection, token, hash_token(secret))
        await audit.record(
            core,
            connection,
            "agent.registered",
            principal,
            account_id=principal.account_id,
            agent=agent.id,
            name=name,
        )

    await core.database.write(save)
    return agent, secret


async def list_agents(core: Core, principal: Principal) -> Sequence[AgentRecord]:
    principal.require(Right.READ)
    return await core.database.read(
        lambda connection: stored.list_agents(connection, principal.account_id)
    )
