"""Agents: registering them, which there are, and what people do to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from coordinator.domain.errors import Forbidden, NotFound
from coordinator.domain.model import AgentRecord, Step
from coordinator.domain.people.permissions import Principal, Right
from coordinator.domain.people.tokens import Role, Token, TokenKind
from coordinator.domain.steps.holders import holder_of
from coordinator.services.audit import Deed
from coordinator.services.core import Core, new_id
from coordinator.services.keys import hash_token, new_token
from coordinator.services.people.accounts import Accounts
from coordinator.services.steps.dispatch import Dispatch
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.people import accounts as stored
from coordinator.storage.steps import steps as stored_steps


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
    the registrant's means nothing. Who was paused or drained by then stays it."""
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

    async def save(connection: AsyncConnection) -> Registered:
        before = await _previous_agent(connection, principal, previous)
        paused = before is not None and before.paused
        made = replace(agent, paused=paused, drained=before is not None and before.drained)
        await stored.insert_agent(connection, made)
        await stored.insert_token(connection, token, hash_token(secret))
        named = {"previous": before.id} if before else {}
        await Deed(core, principal, made).record(connection, "agent.registered", **named)
        return Registered(agent=made, secret=secret, previous_id=before.id if before else None)

    return await core.database.write(save)


async def _previous_agent(
    connection: AsyncConnection, principal: Principal, previous: str | None
) -> AgentRecord | None:
    """Whoever has a credential has been the agent; while it is valid, the agent may be at work."""
    if previous is None:
        return None
    token = await stored.find_revoked_agent_token(connection, hash_token(previous))
    if token is None or principal.account_id not in (None, token.account_id):
        return None
    return await stored.find_agent(connection, token.agent_id) if token.agent_id else None


async def list_agents(core: Core, principal: Principal) -> Sequence[AgentRecord]:
    principal.require(Right.READ)
    return await core.database.read(
        lambda connection: stored.list_agents(connection, principal.account_id)
    )


async def find_agent(
    core: Core, principal: Principal, agent_id: str
) -> tuple[AgentRecord, Sequence[Step]]:
    """One that works for the principal's account, and that account's steps which it has in hand.

    Raises NotFound.
    """
    principal.require(Right.READ)

    async def find(connection: AsyncConnection) -> tuple[AgentRecord, Sequence[Step]]:
        agent = await _visible(connection, principal, agent_id)
        holder = holder_of(agent_id)
        return agent, await stored_steps.steps_held_by(connection, holder, principal.account_id)

    return await core.database.read(find)


async def pause_agent(
    core: Core, dispatch: Dispatch, principal: Principal, agent_id: str
) -> AgentRecord:
    """What it runs goes on. Raises NotFound, and Forbidden as `_own` does."""

    def paused(agent: AgentRecord) -> AgentRecord:
        return replace(agent, paused=True)

    return await _change(core, principal, agent_id, paused, "agent.paused", dispatch.paused)


async def drain_agent(
    core: Core, dispatch: Dispatch, principal: Principal, agent_id: str
) -> AgentRecord:
    """Besides, its process ends once what it runs is over, and so does each that begins later,
    until it is resumed. Raises as `pause_agent` does."""

    def drained(agent: AgentRecord) -> AgentRecord:
        return replace(agent, paused=True, drained=True)

    return await _change(core, principal, agent_id, drained, "agent.drained", dispatch.drained)


async def resume_agent(
    core: Core, dispatch: Dispatch, principal: Principal, agent_id: str
) -> AgentRecord:
    """Raises as `pause_agent` does."""

    def resumed(agent: AgentRecord) -> AgentRecord:
        return replace(agent, paused=False, drained=False)

    return await _change(core, principal, agent_id, resumed, "agent.resumed", dispatch.resumed)


async def _change(
    core: Core,
    principal: Principal,
    agent_id: str,
    changed: Callable[[AgentRecord], AgentRecord],
    action: str,
    tell: Callable[[str], None],
) -> AgentRecord:
    async def change(connection: AsyncConnection) -> AgentRecord:
        agent = await _own(connection, principal, agent_id)
        after = changed(agent)
        if after != agent:
            await stored.pause_agent(
                connection, agent_id, paused=after.paused, drained=after.drained
            )
            await Deed(core, principal, agent).record(connection, action)
        return after

    return await core.database.write(change, committed=lambda agent: tell(agent.id))


async def remove_agent(
    accounts: Accounts, dispatch: Dispatch, principal: Principal, agent_id: str
) -> None:
    """Its credential ends, and what it runs goes elsewhere as that of a silent agent does.

    Raises NotFound, and Forbidden as `_own` does.
    """
    core = accounts.core

    async def remove(connection: AsyncConnection) -> None:
        agent = await _own(connection, principal, agent_id)
        await stored.revoke_agents_tokens(connection, agent_id, core.now())
        await stored.remove_agent(connection, agent_id, core.now())
        await Deed(core, principal, agent).record(connection, "agent.removed")

    await core.database.write(remove)
    accounts.forget_known()
    dispatch.revoked(agent_id)


async def _visible(connection: AsyncConnection, principal: Principal, agent_id: str) -> AgentRecord:
    """Raises NotFound, also for one of another account or that was removed."""
    agent = await stored.find_agent(connection, agent_id)
    if agent is None or agent.removed_at is not None:
        raise NotFound("there is no such agent")
    if agent.account_id is not None and not principal.sees(agent.account_id):
        raise NotFound("there is no such agent")
    return agent


async def _own(connection: AsyncConnection, principal: Principal, agent_id: str) -> AgentRecord:
    """One of an account is its maintainers', one of all accounts the administrators'."""
    principal.require(Right.MANAGE)
    agent = await _visible(connection, principal, agent_id)
    if agent.account_id is None and (
        principal.account_id is not None or Right.ADMINISTER not in principal.rights
    ):
        raise Forbidden(f"the agent {agent.name} works for all accounts: it is the administrators'")
    return agent
