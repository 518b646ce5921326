"""Accounts, tokens, and who a request speaks for."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from coordinator.domain.errors import Forbidden, Invalid, NotFound, StaleEpoch, Unauthenticated
from coordinator.domain.lifecycle import StepState
from coordinator.domain.model import Account, Step
from coordinator.domain.people.permissions import RIGHTS, Principal, PrincipalKind, Right
from coordinator.domain.people.tokens import Role, Token, TokenKind
from coordinator.domain.people.users import principal_for
from coordinator.domain.slugs import UUID_TEXT, account_slug, free_slug
from coordinator.domain.steps.late_reports import is_late
from coordinator.services.audit import Deed
from coordinator.services.core import Core, new_id
from coordinator.services.keys import hash_token, new_token, write_private
from coordinator.services.people.logins import Logins
from coordinator.services.seldom import Seldom
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.people import accounts as stored
from coordinator.storage.steps import attempts as stored_attempts
from coordinator.storage.steps import steps as stored_steps
from pipelines_schema.own_registries import OPERATOR

KNOWN_FOR = timedelta(seconds=10)
"""How long a token is believed without asking the database again."""
MAX_KNOWN = 10_000
TOUCH_EVERY = timedelta(minutes=10)
"""`last use` of a token is no finer than this: a write per request would cost more than it says."""
SESSION_SEPARATOR = "."
"""A session's secret ends in what it was opened with: a token's id, or a user's with a generation.
"""
GENERATION_SEPARATOR = "~"
LOGIN_DOTS = 2
"""A login's token has three parts; no other secret of ours has two dots."""
DEFAULT_ACCOUNT = "default"
"""Whose everything is that names no account."""


@dataclass(slots=True)
class Accounts:
    core: Core
    logins: Logins
    _known: dict[str, tuple[Principal, datetime]] = field(default_factory=dict)
    _touched: Seldom = field(default_factory=lambda: Seldom(TOUCH_EVERY))
    _revoked: dict[str, tuple[bool, datetime]] = field(default_factory=dict)
    """Of an agent's id, until when it is believed."""
    _changes: int = 0

    async def write_admin_token(self, path: Path) -> None:
        """Make the administrator's token at the first start; a deleted file makes a new one."""
        if await asyncio.to_thread(path.exists):
            return
        secret = new_token()
        await self._save_token(secret, TokenKind.USER, "admin", Role.ADMIN, None)
        write_private(path, secret.encode() + b"\n")

    # Who speaks

    async def authenticate(self, secret: str) -> Principal:
        """Raises Unauthenticated."""
        if secret.startswith("prs_"):
            return await self._authenticate_step(secret)
        token_hash, now = hash_token(secret), self.core.now()
        known = self._known.get(token_hash)
        if known and now < known[1]:
            return known[0]
        asked = self._changes
        if secret.count(".") == LOGIN_DOTS:
            principal, ends = await self.logins.authenticate(secret)
            until = min(now + KNOWN_FOR, ends)
        else:
            token, person_id, until = await self._find_token(secret, token_hash, now)
            if _is_users_session(token):
                principal = await self._users_session(token, secret)
            else:
                principal = _principal(token, person_id)
            await self._touch(token, now)
        if len(self._known) > MAX_KNOWN:
            self._known.clear()
        if asked == self._changes:  # or the answer may be of before the change
            self._known[token_hash] = (principal, until)
        return principal

    def forget_known(self) -> None:
        """Somebody's rights have changed: everybody is looked up once more."""
        self._changes += 1
        self._known.clear()
        self._revoked.clear()

    async def _find_token(
        self, secret: str, token_hash: str, now: datetime
    ) -> tuple[Token, str, datetime]:
        """The token, whose it is, and until when it may be believed. A session is its token's, and
        ends with it."""

        async def find(connection: AsyncConnection) -> list[Token | None]:
            found = [await stored.find_token(connection, token_hash, now)]
            token = found[0]
            if token and token.kind is TokenKind.SESSION and not _is_users_session(token):
                opened_with = secret.rpartition(SESSION_SEPARATOR)[2]
                found.append(await stored.find_token_by_id(connection, opened_with, now))
            return found

        found = await self.core.database.read(find)
        tokens = [token for token in found if token is not None]
        if len(tokens) < len(found):
            raise Unauthenticated("this token is not known, has expired or was revoked")
        ends = [token.expires_at for token in tokens if token.expires_at]
        person_id = next((one.user_id for one in tokens if one.user_id), tokens[-1].id)
        return tokens[0], person_id, min([now + KNOWN_FOR, *ends])

    async def _users_session(self, token: Token, secret: str) -> Principal:
        """Raises Unauthenticated where what the user logged in with has ended since."""
        opener = secret.rpartition(SESSION_SEPARATOR)[2]
        user_id, _, generation = opener.partition(GENERATION_SEPARATOR)
        user = await self.logins.user_of(user_id, int(generation))
        return replace(principal_for(user), token_id=token.id)

    async def _authenticate_step(self, secret: str) -> Principal:
        spoken = self.core.keys.read_step_token(secret)
        if spoken is None:
            raise Unauthenticated("this step token is not one of ours")
        step_id, epoch = spoken
        found = await self.core.database.read(
            lambda connection: _step_of_attempt(connection, step_id, epoch)
        )
        if not isinstance(found, tuple):
            raise self.core.generations.stale(found, epoch, "this step token's attempt has ended")
        step, holder = found
        if await self._is_revoked(holder):
            raise StaleEpoch("the credential of the agent that has this attempt was revoked")
        return Principal(
            kind=PrincipalKind.STEP,
            name=f"step {step.name}",
            token_id=step.attempt_id,
            account_id=step.account_id,
            rights=frozenset({Right.RUN}),
            step_id=step_id,
            epoch=epoch,
        )

    async def _is_revoked(self, holder: str) -> bool:
        """Whether it is an agent whose credential was revoked: its attempts' tokens go with it."""
        kind, _, agent_id = holder.partition(":")
        if kind != "agent":
            return False
        now, asked = self.core.now(), self._changes
        known = self._revoked.get(agent_id)
        if known and now < known[1]:
            return known[0]
        revoked = await self.core.database.read(
            lambda connection: stored.is_agent_revoked(connection, agent_id)
        )
        if len(self._revoked) > MAX_KNOWN:
            self._revoked.clear()
        if asked == self._changes:
            self._revoked[agent_id] = (revoked, now + KNOWN_FOR)
        return revoked

    async def _touch(self, token: Token, now: datetime) -> None:
        if not self._touched.is_due(token.id, now):
            return
        await self.core.database.note(
            lambda connection: stored.touch_token(connection, token.id, now)
        )

    # Accounts

    async def find(self, principal: Principal, key: str) -> Account | None:
        """By its own id, UUID or slug; None where there is none that the principal sees."""
        account = await self.core.database.read(
            lambda connection: stored.find_account(connection, key)
        )
        return account if account and principal.sees(account.id) else None

    async def find_or_create(self, principal: Principal, key: str) -> Account:
        """The administrator's token creates an unknown account; any other gets NotFound.

        One named by a UUID gets that id, so that its client finds what it asked for.
        """
        if account := await self.find(principal, key):
            return account
        if Right.ADMINISTER not in principal.rights or principal.account_id is not None:
            raise NotFound(f"there is no account {key!r}")

        async def create(connection: AsyncConnection) -> Account:
            if existing := await stored.find_account(connection, key):
                return existing
            account_id = key.lower() if UUID_TEXT.fullmatch(key.lower()) else new_id()
            wanted = account_slug(key)
            # The operator's folder of images at common registries is nobody's account's.
            taken = {OPERATOR, *await stored.account_slugs_like(connection, wanted)}
            account = Account(id=account_id, slug=free_slug(wanted, taken), name=key)
            await stored.insert_account(connection, account, self.core.now())
            await Deed(self.core, principal, account).record(
                connection, "account.created", name=key
            )
            return account

        return await self.core.database.write(create)

    async def list_accounts(self, principal: Principal) -> Sequence[Account]:
        return await self.core.database.read(
            lambda connection: stored.list_accounts(connection, principal.account_id)
        )

    # Tokens

    async def create_token(
        self,
        principal: Principal,
        *,
        kind: TokenKind,
        name: str,
        role: Role,
        account: str | None,
        all_accounts: bool = False,
        expires_in: timedelta | None,
    ) -> tuple[Token, Account | None, str]:
        """The token, its account (None: it is for all) and its secret, which is stored nowhere.

        One that names no account is of the principal's own, else of the default one: only agents'
        and administrators' are for all by themselves.
        """
        if kind is TokenKind.REGISTRATION:
            principal.require(Right.REGISTER)
            role = Role.AGENT
        elif role is Role.AGENT:
            raise Invalid("a person's token can't have the role agent; use kind registration")
        elif not principal.rights >= RIGHTS[role]:
            raise Forbidden(f"this token can't make one of role {role.value}")
        if all_accounts and principal.account_id is not None:
            raise Forbidden("this token is of one account: leave `allAccounts` out")
        if all_accounts and account is not None:
            raise Invalid("name an `account`, or say `allAccounts`, not both")
        if role is Role.ADMIN and account is not None:
            raise Invalid("the role admin is for all accounts: leave `account` out")
        for_all = all_accounts or role in (Role.ADMIN, Role.AGENT)
        owner = await self._owner_of_token(principal, account, for_all=for_all)
        secret = new_token()
        token = await self._save_token(
            secret, kind, name, role, owner.id if owner else None, expires_in, by=principal
        )
        return token, owner, secret

    async def _owner_of_token(
        self, principal: Principal, account: str | None, *, for_all: bool
    ) -> Account | None:
        if account is None and for_all and principal.account_id is None:
            return None
        key = account or principal.account_id or DEFAULT_ACCOUNT
        return await self.find_or_create(principal, key)

    async def _save_token(
        self,
        secret: str,
        kind: TokenKind,
        name: str,
        role: Role,
        account_id: str | None,
        expires_in: timedelta | None = None,
        *,
        by: Principal | None = None,
    ) -> Token:
        now = self.core.now()
        token = Token(
            id=new_id(),
            kind=kind,
            name=name,
            role=role,
            account_id=account_id,
            agent_id=None,
            user_id=by.user_id if by else None,
            created_at=now,
            expires_at=now + expires_in if expires_in else None,
            last_used_at=None,
        )

        async def save(connection: AsyncConnection) -> None:
            await stored.insert_token(connection, token, hash_token(secret))
            await Deed(self.core, by, token).record(
                connection, "token.created", token=token.id, name=name, role=role.value
            )

        await self.core.database.write(save)
        return token

    async def list_tokens(self, principal: Principal) -> Sequence[Token]:
        principal.require(Right.MANAGE)
        return await self.core.database.read(
            lambda connection: stored.list_tokens(connection, principal.account_id)
        )

    async def revoke_token(self, principal: Principal, token_id: str) -> str | None:
        """The id of the agent whose credential it was, if it was one."""
        principal.require(Right.MANAGE)

        async def revoke(connection: AsyncConnection) -> tuple[bool, str | None]:
            token = await stored.find_token_by_id(connection, token_id, self.core.now())
            if (
                token
                and token.kind is TokenKind.USER
                and not principal.rights >= RIGHTS[token.role]
            ):
                raise Forbidden(f"this token can't revoke one of role {token.role.value}")
            done = await stored.revoke_token(
                connection, token_id, principal.account_id, self.core.now()
            )
            if done:
                await Deed(self.core, principal, principal).record(
                    connection, "token.revoked", token=token_id
                )
            return done, token.agent_id if token else None

        done, agent_id = await self.core.database.write(revoke)
        if not done:
            raise NotFound("there is no such token")
        self.forget_known()
        return agent_id


def _is_users_session(token: Token) -> bool:
    return token.kind is TokenKind.SESSION and token.user_id is not None


def _principal(token: Token, person_id: str) -> Principal:
    match token.kind:
        case TokenKind.AGENT:
            kind, rights = PrincipalKind.AGENT, RIGHTS[Role.AGENT]
        case TokenKind.REGISTRATION:
            kind, rights = PrincipalKind.REGISTRATION, frozenset({Right.REGISTER})
        case _:
            kind, rights = PrincipalKind.PERSON, RIGHTS[token.role]
    return Principal(
        kind=kind,
        name=token.name,
        token_id=token.id,
        account_id=token.account_id,
        rights=rights,
        agent_id=token.agent_id,
        person_id=person_id,
    )


async def _step_of_attempt(
    connection: AsyncConnection, step_id: str, epoch: int
) -> tuple[Step, str] | Step | None:
    """The step and whose attempt it is; without that where nothing may be reported on it any
    more."""
    step = await stored_steps.find_step(connection, step_id)
    if step is None:
        return None
    if step.epoch == epoch and step.state is StepState.RUNNING:
        return step, step.holder or ""
    attempt = await stored_attempts.find_attempt(connection, step_id, epoch)
    return (step, attempt.holder) if attempt is not None and is_late(step, attempt) else step
