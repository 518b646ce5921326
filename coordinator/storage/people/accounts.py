"""Accounts, tokens and agents."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

import sqlalchemy as sa

from coordinator.domain.model import Account, AgentRecord
from coordinator.domain.people.tokens import Role, Token, TokenKind
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.direct_statements import direct
from coordinator.storage.rows import columns, reader
from coordinator.storage.tables import SHOWN_TOKEN, accounts, agents, tokens

_account = reader(Account)
_agent = reader(AgentRecord)
_token = reader(Token, kind=TokenKind, role=Role)


async def find_account(connection: AsyncConnection, key: str) -> Account | None:
    """By the id that it was made with, which is its name; else by its UUID, else by its slug."""
    keys = ((accounts.c.name, key), (accounts.c.id, key.lower()), (accounts.c.slug, key))
    for column, wanted in keys:
        query = sa.select(*columns(Account, accounts)).where(column == wanted)
        row = (await connection.execute(query.order_by(accounts.c.created_at).limit(1))).first()
        if row:
            return _account(row)
    return None


async def list_accounts(connection: AsyncConnection, only: str | None) -> Sequence[Account]:
    query = sa.select(*columns(Account, accounts)).order_by(accounts.c.slug)
    if only is not None:
        query = query.where(accounts.c.id == only)
    return [_account(row) for row in await connection.execute(query)]


async def account_slugs_like(connection: AsyncConnection, prefix: str) -> set[str]:
    query = sa.select(accounts.c.slug).where(accounts.c.slug.startswith(prefix, autoescape=True))
    return set((await connection.execute(query)).scalars())


async def insert_account(connection: AsyncConnection, account: Account, now: datetime) -> None:
    await connection.execute(
        accounts.insert().values(
            id=account.id, slug=account.slug, name=account.name, created_at=now
        )
    )


async def insert_token(connection: AsyncConnection, token: Token, token_hash: str) -> None:
    await connection.execute(
        tokens.insert().values(
            id=token.id,
            kind=token.kind.value,
            name=token.name,
            role=token.role.value,
            hash=token_hash,
            account_id=token.account_id,
            agent_id=token.agent_id,
            user_id=token.user_id,
            created_at=token.created_at,
            expires_at=token.expires_at,
        )
    )


async def find_token(connection: AsyncConnection, token_hash: str, now: datetime) -> Token | None:
    """The token of that hash, unless it was revoked or has expired."""
    found = await connection.execute(
        sa.select(*columns(Token, tokens)).where(
            tokens.c.hash == token_hash,
            tokens.c.revoked_at.is_(None),
            sa.or_(tokens.c.expires_at.is_(None), tokens.c.expires_at > now),
        )
    )
    row = found.first()
    return _token(row) if row else None


async def find_token_by_id(
    connection: AsyncConnection, token_id: str, now: datetime
) -> Token | None:
    """The token, unless it was revoked or has expired."""
    found = await connection.execute(
        sa.select(*columns(Token, tokens)).where(
            tokens.c.id == token_id,
            tokens.c.revoked_at.is_(None),
            sa.or_(tokens.c.expires_at.is_(None), tokens.c.expires_at > now),
        )
    )
    row = found.first()
    return _token(row) if row else None


async def find_revoked_agent_token(connection: AsyncConnection, token_hash: str) -> Token | None:
    """The credential of that hash, if it was an agent's and was revoked."""
    found = await connection.execute(
        sa.select(*columns(Token, tokens)).where(
            tokens.c.hash == token_hash,
            tokens.c.kind == TokenKind.AGENT.value,
            tokens.c.revoked_at.is_not(None),
        )
    )
    row = found.first()
    return _token(row) if row else None


async def is_agent_revoked(connection: AsyncConnection, agent_id: str) -> bool:
    found = await connection.execute(
        sa.select(tokens.c.id)
        .where(tokens.c.agent_id == agent_id, tokens.c.revoked_at.is_not(None))
        .limit(1)
    )
    return found.first() is not None


async def touch_token(connection: AsyncConnection, token_id: str, now: datetime) -> None:
    await connection.execute(
        tokens.update().where(tokens.c.id == token_id).values(last_used_at=now)
    )


async def list_tokens(connection: AsyncConnection, account_id: str | None) -> Sequence[Token]:
    """Those of people, registrations and agents, not yet revoked: sessions end by logging out."""
    query = sa.select(*columns(Token, tokens)).where(SHOWN_TOKEN)
    if account_id is not None:
        query = query.where(tokens.c.account_id == account_id)
    found = await connection.execute(query.order_by(tokens.c.created_at))
    return [_token(row) for row in found]


async def revoke_token(
    connection: AsyncConnection, token_id: str, account_id: str | None, now: datetime
) -> bool:
    statement = (
        tokens.update()
        .where(tokens.c.id == token_id, tokens.c.revoked_at.is_(None))
        .values(revoked_at=now)
    )
    if account_id is not None:
        statement = statement.where(tokens.c.account_id == account_id)
    return (await connection.execute(statement)).rowcount == 1


async def revoke_agents_tokens(connection: AsyncConnection, agent_id: str, now: datetime) -> None:
    await connection.execute(
        tokens.update()
        .where(tokens.c.agent_id == agent_id, tokens.c.revoked_at.is_(None))
        .values(revoked_at=now)
    )


async def revoke_users_sessions(connection: AsyncConnection, now: datetime) -> None:
    """Of everybody who opened one by a login."""
    await connection.execute(
        tokens.update()
        .where(
            tokens.c.kind == TokenKind.SESSION.value,
            tokens.c.user_id.is_not(None),
            tokens.c.revoked_at.is_(None),
        )
        .values(revoked_at=now)
    )


async def insert_agent(connection: AsyncConnection, agent: AgentRecord) -> None:
    await connection.execute(
        agents.insert().values(
            id=agent.id,
            account_id=agent.account_id,
            name=agent.name,
            labels=dict(agent.labels),
            slots=agent.slots,
            created_at=agent.created_at,
            last_seen_at=agent.last_seen_at,
            paused=agent.paused,
            drained=agent.drained,
        )
    )


_FIND_AGENT = direct(
    sa.select(*columns(AgentRecord, agents)).where(agents.c.id == sa.bindparam("its_id"))
)


async def find_agent(connection: AsyncConnection, agent_id: str) -> AgentRecord | None:
    row = (await connection.execute(_FIND_AGENT, {"its_id": agent_id})).first()
    return _agent(row) if row else None


async def list_agents(connection: AsyncConnection, account_id: str | None) -> Sequence[AgentRecord]:
    """Those that work for the account (all agents where it is None) and were not removed, newest
    first."""
    query = sa.select(*columns(AgentRecord, agents)).where(agents.c.removed_at.is_(None))
    arms = [query]
    if account_id is not None:
        wanted = (agents.c.account_id == account_id, agents.c.account_id.is_(None))
        arms = [query.where(one) for one in wanted]
    found = await connection.execute(sa.union_all(*arms).order_by(sa.desc("created_at")))
    return [_agent(row) for row in found]


async def agent_names(connection: AsyncConnection, ids: Collection[str]) -> Mapping[str, str]:
    """By id."""
    query = sa.select(agents.c.id, agents.c.name).where(agents.c.id.in_(ids))
    return {row.id: row.name for row in await connection.execute(query)}


async def paused_agents(connection: AsyncConnection) -> Sequence[str]:
    """Their ids."""
    return list((await connection.execute(sa.select(agents.c.id).where(agents.c.paused))).scalars())


async def drained_agents(connection: AsyncConnection) -> Sequence[str]:
    """Their ids."""
    return list(
        (await connection.execute(sa.select(agents.c.id).where(agents.c.drained))).scalars()
    )


async def pause_agent(
    connection: AsyncConnection, agent_id: str, *, paused: bool, drained: bool
) -> None:
    change = agents.update().where(agents.c.id == agent_id)
    await connection.execute(change.values(paused=paused, drained=drained))


async def remove_agent(connection: AsyncConnection, agent_id: str, now: datetime) -> None:
    """It is listed no more; the row stays, which its attempts and tokens name."""
    await connection.execute(agents.update().where(agents.c.id == agent_id).values(removed_at=now))


async def take_home(connection: AsyncConnection, agent_id: str, home: str) -> None:
    """From now on it is at that coordinator."""
    await connection.execute(agents.update().where(agents.c.id == agent_id).values(home=home))


async def take_all_of_home(connection: AsyncConnection, gone: str, home: str) -> Sequence[str]:
    """Those that are at a coordinator which is gone are at another. Their ids."""
    taken = agents.update().where(agents.c.home == gone).values(home=home).returning(agents.c.id)
    return list((await connection.execute(taken)).scalars())


_HOME = sa.select(agents.c.home).where(agents.c.id == sa.bindparam("its_id"))


async def home_of(connection: AsyncConnection, agent_id: str) -> str | None:
    """The coordinator that it is at; None where it was at none."""
    found: str | None = (await connection.execute(_HOME, {"its_id": agent_id})).scalar()
    return found


async def touch_agent(connection: AsyncConnection, agent_id: str, now: datetime) -> None:
    await connection.execute(
        agents.update().where(agents.c.id == agent_id).values(last_seen_at=now)
    )
