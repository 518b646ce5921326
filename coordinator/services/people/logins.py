"""Logging in by password: a signed token (JWT) for the API, and who it speaks for.

Each token names the key it was signed with. A retired key signs no more, and is believed until
the last token that it signed has expired. The keys lie sealed in the database.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import structlog

from coordinator.domain.errors import Invalid, TooMany, Unauthenticated
from coordinator.domain.people.permissions import Principal, Right
from coordinator.domain.people.users import User, checked_email, normal_password, principal_for
from coordinator.services.audit import Deed
from coordinator.services.core import Core, new_id
from coordinator.services.people.login_tokens import Claims, read_login_token, write_login_token
from coordinator.services.people.passwords import Passwords, is_outdated
from coordinator.services.people.rates import Rates
from coordinator.services.sealing import seal, unseal
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.people import accounts as stored_accounts
from coordinator.storage.people import users as stored
from coordinator.storage.people.users import SealedKey

log = structlog.get_logger()

KEY_BYTES = 32
SEALED_AS = "login signing key"
TRIED_WITHIN = timedelta(minutes=15)
TRIES_FROM_ONE_PLACE = 10
"""Of one email from one address: its owner elsewhere is not shut out by a stranger's guesses."""
TRIES_OF_ONE_EMAIL = 100
TRIES_OF_ONE_PLACE = 300
NOTED_REFUSALS = 100
"""That the audit log gets within that time, of all places together."""
REFUSED = "the email or the password is wrong"


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    user: User
    token: str = field(repr=False)
    expires_at: datetime
    seconds: int
    """Of its life."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    id: str
    secret: bytes = field(repr=False)
    created_at: datetime
    retired_at: datetime | None


@dataclass(slots=True)
class Logins:
    core: Core
    passwords: Passwords = field(default_factory=Passwords)
    _keys: dict[str, SigningKey] | None = None
    _rotations: int = 0
    """Keys that were read before the latest one are not kept."""
    _keys_change: asyncio.Lock = field(default_factory=asyncio.Lock)
    tries: Mapping[str, Rates] = field(
        default_factory=lambda: {
            "both": Rates(TRIES_FROM_ONE_PLACE, TRIED_WITHIN),
            "email": Rates(TRIES_OF_ONE_EMAIL, TRIED_WITHIN),
            "place": Rates(TRIES_OF_ONE_PLACE, TRIED_WITHIN),
        }
    )

    _noted: Rates = field(default_factory=lambda: Rates(NOTED_REFUSALS, TRIED_WITHIN))

    async def log_in(self, email: str, password: str, place: str) -> Login:
        """Raises as `check` does."""
        return await self._issue(await self.check(email, password, place))

    async def check(self, email: str, password: str, place: str) -> User:
        """Whose they are. `place` is the address that asks. Every refusal says and costs the same.

        Raises Unauthenticated, TooMany.
        """
        email = email.strip()[:1000]
        # In this order: what is stopped by one is not counted by the next, so that a place fills
        # no more windows than it may try, and uses up an email's tries only as far as its own.
        tried = {"place": place, "both": f"{place} {email.casefold()}", "email": email.casefold()}
        self._count(tried)
        user, password_hash = await self._find(email)
        right = await self.passwords.matches(password_hash, normal_password(password))
        if not right or user is None or user.disabled:
            log.warning("login refused", place=place)
            await self._note_refusal(user, place)
            raise Unauthenticated(REFUSED)
        if password_hash is not None and is_outdated(password_hash):
            await self._hash_anew(user, normal_password(password))
        now = self.core.now()
        for kind, key in tried.items():
            self.tries[kind].give_back(key, now)
        return user

    async def _note_refusal(self, user: User | None, place: str) -> None:
        """In the audit log, as far as guesses at will can't fill the disk: the last entry of a
        window says that what follows is left out. An email that is nobody's isn't written down: it
        may be a password in the wrong field."""
        standing = self._noted.take("", self.core.now())
        if standing.exceeded:
            return
        last = {"leftOutUntil": standing.resets_at.isoformat()} if not standing.remaining else {}
        await self.core.database.write(
            lambda connection: Deed(self.core, None, user).record(
                connection, "user.loginRefused", place=place, known=user is not None, **last
            )
        )

    async def _hash_anew(self, user: User, password: str) -> None:
        """By the parameters of now, which only a login knows the password for."""
        password_hash = await self.passwords.hash(password)
        await self.core.database.write(
            lambda connection: stored.update_user(connection, user.id, password_hash=password_hash)
        )

    def _count(self, tried: Mapping[str, str]) -> None:
        """Before the password is looked at, so that many tries at once are counted too."""
        now = self.core.now()
        for kind, key in tried.items():
            standing = self.tries[kind].take(key, now)
            if standing.exceeded:
                seconds = max(int((standing.resets_at - now).total_seconds()), 0) + 1
                raise TooMany(
                    f"too many logins failed: try again in {seconds} seconds",
                    retry_after=seconds,
                )

    async def _find(self, email: str) -> tuple[User | None, str | None]:
        try:
            checked = checked_email(email)
        except Invalid:
            checked = ""  # nobody's: not told apart from an email that is nobody's

        async def find(connection: AsyncConnection) -> tuple[User | None, str | None]:
            user = await stored.find_user_by_email(connection, checked)
            return user, await stored.read_password_hash(connection, user.id) if user else None

        return await self.core.database.read(find)

    async def _issue(self, user: User) -> Login:
        key = await self._signing_key()
        now = self.core.now().replace(microsecond=0)
        life = timedelta(seconds=self.core.settings.login_seconds)
        claims = Claims(
            issuer=self.core.public_url,
            user_id=user.id,
            generation=user.generation,
            issued_at=now,
            expires_at=now + life,
            id=new_id(),
        )
        await self.core.database.write(
            lambda connection: Deed(self.core, principal_for(user)).record(
                connection, "user.loggedIn"
            )
        )
        return Login(
            user=user,
            token=write_login_token(claims, key.id, key.secret),
            expires_at=claims.expires_at,
            seconds=self.core.settings.login_seconds,
        )

    # Who a token speaks for

    async def authenticate(self, token: str) -> tuple[Principal, datetime]:
        """The principal, and until when the token lives. Raises Unauthenticated."""
        user, ends = await self.user_of_token(token)
        return principal_for(user), ends

    async def user_of_token(self, token: str) -> tuple[User, datetime]:
        """Raises Unauthenticated."""
        keys = {key.id: key.secret for key in (await self._believed_keys()).values()}
        claims = read_login_token(token, keys, self.core.public_url, self.core.now())
        if claims is None:
            raise Unauthenticated("this login is not one of ours, or has expired: log in again")
        return await self.user_of(claims.user_id, claims.generation), claims.expires_at

    async def user_of(self, user_id: str, generation: int) -> User:
        """The user, if no login of this generation was ended since. Raises Unauthenticated."""
        user = await self.core.database.read(
            lambda connection: stored.find_user(connection, user_id)
        )
        if user is None or user.disabled or user.generation != generation:
            raise Unauthenticated("this login has been ended: log in again")
        return user

    # Keys

    async def rotate_keys(self, principal: Principal, *, end_logins: bool) -> None:
        """From now on sign with a new key; with `end_logins` no token of before is believed."""
        principal.require(Right.ADMINISTER)
        async with self._keys_change:
            await self._rotate(principal, end_logins=end_logins)

    async def _signing_key(self) -> SigningKey:
        """The one that is not retired; made anew when there is none or it is too old."""
        if key := self._fresh(await self._believed_keys()):
            return key
        async with self._keys_change:
            if key := self._fresh(await self._believed_keys()):
                return key
            return await self._rotate(None, end_logins=False)

    def _fresh(self, keys: Mapping[str, SigningKey]) -> SigningKey | None:
        oldest = self.core.now() - timedelta(days=self.core.settings.login_key_days)
        fresh = (k for k in keys.values() if k.retired_at is None and k.created_at > oldest)
        return next(fresh, None)

    async def _rotate(self, principal: Principal | None, *, end_logins: bool) -> SigningKey:
        """The new key."""
        now, secret = self.core.now(), secrets.token_bytes(KEY_BYTES)
        sealed = seal(self.core.keys.master, SEALED_AS, secret)
        key = SealedKey(id=new_id(), sealed=sealed, created_at=now, retired_at=None)
        ended = now + timedelta(seconds=1) if end_logins else self._expired_before(now)

        async def rotate(connection: AsyncConnection) -> None:
            await stored.retire_signing_keys(connection, now)
            await stored.delete_signing_keys(connection, retired_before=ended)
            await stored.insert_signing_key(connection, key)
            if end_logins:
                await stored_accounts.revoke_users_sessions(connection, now)
            await Deed(self.core, principal).record(
                connection, "signingKey.rotated", key=key.id, endedLogins=end_logins
            )

        def committed(_: None) -> None:
            self._keys = None
            self._rotations += 1

        await self.core.database.write(rotate, committed=committed)
        return SigningKey(id=key.id, secret=secret, created_at=now, retired_at=None)

    async def _believed_keys(self) -> Mapping[str, SigningKey]:
        while (keys := self._keys) is None:
            rotations = self._rotations
            sealed = await self.core.database.read(stored.list_signing_keys)
            if rotations == self._rotations:
                self._keys = {one.id: self._unsealed(one) for one in sealed}
        ended = self._expired_before(self.core.now())
        return {k.id: k for k in keys.values() if not k.retired_at or k.retired_at > ended}

    def _unsealed(self, key: SealedKey) -> SigningKey:
        return SigningKey(
            id=key.id,
            secret=unseal(self.core.keys.master, SEALED_AS, key.sealed),
            created_at=key.created_at,
            retired_at=key.retired_at,
        )

    def _expired_before(self, now: datetime) -> datetime:
        """A key retired before this has signed nothing that still lives."""
        return now.astimezone(UTC) - timedelta(seconds=self.core.settings.login_seconds)
