"""Users, their memberships, and the keys that sign their logins."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from coordinator.domain.people.tokens import Role
from coordinator.domain.people.users import User
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.rows import reader
from coordinator.storage.tables import memberships, signing_keys, users


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedKey:
    id: str
    sealed: bytes = field(repr=False)
    created_at: datetime
    retired_at: datetime | None


_key = reader(SealedKey)


async def insert_user(connection: AsyncConnection, user: User, password_hash: str) -> None:
    """Raises IntegrityError where the email is taken."""
    await connection.execute(
        users.insert().values(
            id=user.id,
            email=user.email,
            password_hash=password_hash,
            administrator=user.administrator,
            disabled=user.disabled,
            generation=user.generation,
            created_at=user.created_at,
            updated_at=user.updated_at,
        )
    )
    for account_id, role in user.memberships.items():
        await set_membership(connection, user.id, account_id, role)


async def find_user(connection: AsyncConnection, user_id: str) -> User | None:
    return next(iter(await _users(connection, users.c.id == user_id)), None)


async def find_user_by_email(connection: AsyncConnection, email: str) -> User | None:
    return next(iter(await _users(connection, users.c.email == email)), None)


async def list_users(connection: AsyncConnection) -> Sequence[User]:
    """By email."""
    return await _users(connection)


async def read_password_hash(connection: AsyncConnection, user_id: str) -> str:
    query = sa.select(users.c.password_hash).where(users.c.id == user_id)
    return str((await connection.execute(query)).scalar_one())


async def update_user(connection: AsyncConnection, user_id: str, **values: Any) -> None:
    await connection.execute(users.update().where(users.c.id == user_id).values(**values))


async def set_membership(
    connection: AsyncConnection, user_id: str, account_id: str, role: Role | None
) -> None:
    """None ends it."""
    await connection.execute(
        memberships.delete().where(
            memberships.c.user_id == user_id, memberships.c.account_id == account_id
        )
    )
    if role is not None:
        await connection.execute(
            memberships.insert().values(user_id=user_id, account_id=account_id, role=role.value)
        )


async def _users(connection: AsyncConnection, *where: sa.ColumnElement[bool]) -> Sequence[User]:
    found = (await connection.execute(sa.select(users).where(*where).order_by(users.c.email))).all()
    roles = await _memberships(connection, [row.id for row in found] if where else None)
    return [
        User(
            id=row.id,
            email=row.email,
            administrator=row.administrator,
            disabled=row.disabled,
            generation=row.generation,
            created_at=row.created_at,
            updated_at=row.updated_at,
            memberships=roles.get(row.id, {}),
        )
        for row in found
    ]


async def _memberships(
    connection: AsyncConnection, user_ids: Sequence[str] | None
) -> Mapping[str, Mapping[str, Role]]:
    query = sa.select(memberships).order_by(memberships.c.account_id)
    if user_ids is not None:
        query = query.where(memberships.c.user_id.in_(user_ids))
    found: dict[str, dict[str, Role]] = defaultdict(dict)
    for row in await connection.execute(query):
        found[row.user_id][row.account_id] = Role(row.role)
    return found


async def list_signing_keys(connection: AsyncConnection) -> Sequence[SealedKey]:
    """Oldest first."""
    query = sa.select(signing_keys).order_by(signing_keys.c.created_at, signing_keys.c.id)
    return [_key(row) for row in await connection.execute(query)]


async def insert_signing_key(connection: AsyncConnection, key: SealedKey) -> None:
    await connection.execute(
        signing_keys.insert().values(
            id=key.id, sealed=key.sealed, created_at=key.created_at, retired_at=key.retired_at
        )
    )


async def retire_signing_keys(connection: AsyncConnection, now: datetime) -> None:
    """Nothing is signed with those that there are any more."""
    await connection.execute(
        signing_keys.update().where(signing_keys.c.retired_at.is_(None)).values(retired_at=now)
    )


async def delete_signing_keys(connection: AsyncConnection, retired_before: datetime) -> None:
    await connection.execute(
        signing_keys.delete().where(signing_keys.c.retired_at < retired_before)
    )
