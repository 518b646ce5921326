"""A browser's sessions: opened with a token or a password, ended by signing out.

A session's secret ends in what it was opened with, and it lives no longer than that: a token, by
its id, or a login of a user, by the user's id and generation.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from coordinator.domain.errors import Unauthenticated
from coordinator.domain.people.permissions import RIGHTS, Principal, PrincipalKind
from coordinator.domain.people.tokens import Role, Token, TokenKind
from coordinator.domain.people.users import User, principal_for
from coordinator.services.audit import Deed
from coordinator.services.core import Core, new_id
from coordinator.services.keys import hash_token, new_token
from coordinator.services.people.accounts import (
    GENERATION_SEPARATOR,
    LOGIN_DOTS,
    SESSION_SEPARATOR,
    Accounts,
)
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.people import accounts as stored

SESSION_LIFE = timedelta(days=14)


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    secret: str = field(repr=False)
    life: timedelta


@dataclass(frozen=True, slots=True)
class Sessions:
    core: Core
    accounts: Accounts

    async def log_in(self, email: str, password: str, place: str) -> Session:
        """Of a user, from the address `place`. Raises Unauthenticated, TooMany."""
        user = await self.accounts.logins.check(email, password, place)
        return await self._open_for_user(user, self.core.now() + SESSION_LIFE)

    async def open(self, secret: str) -> Session:
        """Of whoever holds a person's token, or a login's. Raises Unauthenticated."""
        if secret.count(".") == LOGIN_DOTS:
            user, ends = await self.accounts.logins.user_of_token(secret)
            return await self._open_for_user(user, min(ends, self.core.now() + SESSION_LIFE))
        principal = await self.accounts.authenticate(secret)
        if principal.kind is not PrincipalKind.PERSON or SESSION_SEPARATOR in secret:
            raise Unauthenticated("only a person's token can log in")
        role = next(role for role, rights in RIGHTS.items() if rights == principal.rights)
        return await self._save(principal, role, principal.token_id, self.core.now() + SESSION_LIFE)

    async def close(self, secret: str) -> None:
        """Raises Unauthenticated where it has ended already."""
        principal = await self.accounts.authenticate(secret)
        now = self.core.now()

        async def close(connection: AsyncConnection) -> None:
            await stored.revoke_token(connection, principal.token_id, None, now)
            await Deed(self.core, principal, principal).record(connection, "session.closed")

        await self.core.database.write(close)
        self.accounts.forget_known()

    async def _open_for_user(self, user: User, ends: datetime) -> Session:
        opener = f"{user.id}{GENERATION_SEPARATOR}{user.generation}"
        # What the user may do is looked up with each request: the role stored here is never asked.
        return await self._save(principal_for(user), Role.VIEWER, opener, ends)

    async def _save(self, principal: Principal, role: Role, opener: str, ends: datetime) -> Session:
        secret = new_token() + SESSION_SEPARATOR + opener
        now = self.core.now()
        token = Token(
            id=new_id(),
            kind=TokenKind.SESSION,
            name=principal.name,
            role=role,
            account_id=None if principal.user_id else principal.account_id,
            agent_id=None,
            user_id=principal.user_id,
            created_at=now,
            expires_at=ends,
            last_used_at=None,
        )

        async def save(connection: AsyncConnection) -> None:
            await stored.insert_token(connection, token, hash_token(secret))
            await Deed(self.core, principal, token).record(connection, "session.opened")

        await self.core.database.write(save)
        return Session(secret=secret, life=ends - now)
