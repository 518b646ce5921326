"""Users: made, listed, changed, disabled; by administrators."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from coordinator.domain.errors import Conflict, Invalid, NotFound
from coordinator.domain.model import Account
from coordinator.domain.people.permissions import Principal, Right
from coordinator.domain.people.tokens import Role
from coordinator.domain.people.users import PERSONS_ROLES, User, checked_email, checked_password
from coordinator.services.audit import Deed
from coordinator.services.core import Core, new_id
from coordinator.services.people.accounts import Accounts
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.people import accounts as stored_accounts
from coordinator.storage.people import users as stored


@dataclass(frozen=True, slots=True)
class Users:
    core: Core
    accounts: Accounts

    async def create(
        self,
        principal: Principal,
        *,
        email: str,
        password: str,
        administrator: bool,
        roles: Mapping[str, Role],
    ) -> User:
        """`roles`: account (its own id, UUID or slug) → role. Raises Invalid, Conflict."""
        principal.require(Right.ADMINISTER)
        now = self.core.now()
        checked = checked_email(email)
        password = checked_password(password)
        memberships = {
            (await self.accounts.find_or_create(principal, key)).id: _persons(role)
            for key, role in roles.items()
        }
        password_hash = await self.accounts.logins.passwords.hash(password)
        user = User(
            id=new_id(),
            email=checked,
            administrator=administrator,
            disabled=False,
            generation=1,
            created_at=now,
            updated_at=now,
            memberships=memberships,
        )

        async def save(connection: AsyncConnection) -> None:
            if await stored.find_user_by_email(connection, checked):
                raise Conflict(f"there is a user {checked} already")
            await stored.insert_user(connection, user, password_hash)
            await Deed(self.core, principal, user).record(
                connection, "user.created", administrator=administrator
            )

        await self.core.database.write(save)
        return user

    async def list_all(self, principal: Principal) -> tuple[Sequence[User], Mapping[str, Account]]:
        """All users, and the accounts that they are members of, by id."""
        principal.require(Right.ADMINISTER)

        async def read(
            connection: AsyncConnection,
        ) -> tuple[Sequence[User], Sequence[Account]]:
            users = await stored.list_users(connection)
            return users, await stored_accounts.list_accounts(connection, None)

        users, accounts = await self.core.database.read(read)
        return users, {account.id: account for account in accounts}

    async def get(self, principal: Principal, key: str) -> User:
        """By id or email. Raises NotFound."""
        principal.require(Right.ADMINISTER)
        return await self.core.database.read(lambda connection: _find(connection, key))

    async def accounts_of(self, user: User) -> Sequence[Account]:
        """Those that the user is a member of; all for an administrator."""
        found = await self.core.database.read(
            lambda connection: stored_accounts.list_accounts(connection, None)
        )
        return [one for one in found if user.administrator or one.id in user.memberships]

    async def set_disabled(self, principal: Principal, key: str, *, disabled: bool) -> User:
        """Logins end at once, and stay ended when the user is let in again."""
        action = "user.disabled" if disabled else "user.enabled"

        def change(user: User) -> Mapping[str, Any]:
            return {"disabled": disabled, "generation": user.generation + 1}

        return await self._change(principal, key, action, change)

    async def set_password(self, principal: Principal, key: str, password: str) -> User:
        """Logins made with the old one end at once. Raises Invalid."""
        principal.require(Right.ADMINISTER)
        password_hash = await self.accounts.logins.passwords.hash(checked_password(password))

        def change(user: User) -> Mapping[str, Any]:
            return {"password_hash": password_hash, "generation": user.generation + 1}

        return await self._change(principal, key, "user.passwordChanged", change)

    async def set_role(
        self, principal: Principal, key: str, account_key: str, role: Role | None
    ) -> User:
        """What the user is in an account; None: no member. Raises NotFound, Invalid."""
        principal.require(Right.ADMINISTER)
        if role is not None:
            account = await self.accounts.find_or_create(principal, account_key)
        elif found := await self.accounts.find(principal, account_key):
            account = found
        else:
            raise NotFound(f"there is no account {account_key!r}")
        wanted = None if role is None else _persons(role)

        async def save(connection: AsyncConnection) -> User:
            user = await _find(connection, key)
            await stored.set_membership(connection, user.id, account.id, wanted)
            await stored.update_user(connection, user.id, updated_at=self.core.now())
            await Deed(self.core, principal, user).record(
                connection,
                "user.roleChanged",
                account=account.slug,
                role=wanted.value if wanted else "none",
            )
            return await _find(connection, user.id)

        return await self.core.database.write(save, committed=self._forget)

    async def _change(
        self,
        principal: Principal,
        key: str,
        action: str,
        change: Callable[[User], Mapping[str, Any]],
    ) -> User:
        principal.require(Right.ADMINISTER)

        async def save(connection: AsyncConnection) -> User:
            user = await _find(connection, key)
            values = change(user)
            await stored.update_user(
                connection, user.id, updated_at=self.core.now(), **dict(values)
            )
            await Deed(self.core, principal, user).record(connection, action)
            return await _find(connection, user.id)

        return await self.core.database.write(save, committed=self._forget)

    def _forget(self, _: User) -> None:
        self.accounts.forget_known()


def _persons(role: Role) -> Role:
    if role not in PERSONS_ROLES:
        raise Invalid(
            f"in an account a user is {', '.join(PERSONS_ROLES)}; an administrator is one "
            "everywhere: set `administrator`",
            details=[{"path": "roles", "message": f"not {role.value}"}],
        )
    return role


async def _find(connection: AsyncConnection, key: str) -> User:
    found = await stored.find_user(connection, key)
    if found is None and "@" in key:
        found = await stored.find_user_by_email(connection, checked_email(key))
    if found is None:
        raise NotFound("there is no such user")
    return found
