"""Logins to registries of images: of a project, or of an account for all its projects."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from coordinator.domain.errors import Invalid, NotFound
from coordinator.domain.model import Account, Project, RegistryLoginShown
from coordinator.domain.people.permissions import Principal, Right
from coordinator.services import audit
from coordinator.services.core import Core
from coordinator.services.sealing import seal, unseal
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.projects import registry_logins as stored
from pipelines_schema.contract import RegistryLogin
from pipelines_schema.image_references import DOMAIN, is_registry

MAX_PASSWORD_BYTES = 16 * 1024
"""The longest in use are keys of service accounts, in JSON."""
MAX_USERNAME_CHARACTERS = 255
MAX_LOGINS = 50
"""Of one project or account."""
MAX_HOST_CHARACTERS = 255


@dataclass(frozen=True, slots=True)
class RegistryLogins:
    core: Core

    async def set(
        self,
        principal: Principal,
        owner: Project | Account,
        host: str,
        username: str,
        password: str,
    ) -> None:
        """Keep it, or keep it anew. Raises Invalid. The password is in no log and no answer."""
        principal.require(Right.MANAGE)
        host = host.lower()
        fault = _host_fault(host) or _fault(username, password)
        if fault is not None:
            raise Invalid(fault)
        purpose = _purpose(owner.id, host, username)
        sealed = seal(self.core.keys.master, purpose, password.encode())

        async def save(connection: AsyncConnection) -> None:
            hosts = {one.host for one in await stored.list_logins(connection, [owner.id])}
            if host not in hosts and len(hosts) >= MAX_LOGINS:
                raise Invalid(f"there are {MAX_LOGINS} logins already: remove one first")
            await stored.put_login(
                connection, owner.id, host, username=username, sealed=sealed, now=self.core.now()
            )
            await self._audit(connection, "registry.login", principal, owner, host)

        await self.core.database.write(save)

    async def list_of(
        self, principal: Principal, owner: Project | Account
    ) -> Sequence[RegistryLoginShown]:
        """By host; of a project with those of its account, which stand before its own."""
        principal.require(Right.MANAGE)
        scopes = _scopes(owner)
        found = await self.core.database.read(
            lambda connection: stored.list_logins(connection, scopes)
        )
        return sorted(found, key=lambda one: (one.host, scopes.index(one.scope_id)))

    async def remove(self, principal: Principal, owner: Project | Account, host: str) -> None:
        """Raises NotFound."""
        principal.require(Right.MANAGE)
        host = host.lower()

        async def remove(connection: AsyncConnection) -> None:
            if not await stored.delete_login(connection, owner.id, host):
                raise NotFound(f"there is no login to {host[:100]!r}")
            await self._audit(connection, "registry.logout", principal, owner, host)

        await self.core.database.write(remove)

    async def _audit(
        self,
        connection: AsyncConnection,
        action: str,
        principal: Principal,
        owner: Project | Account,
        host: str,
    ) -> None:
        is_project = isinstance(owner, Project)
        await audit.record(
            self.core,
            connection,
            action,
            principal,
            account_id=owner.account_id if isinstance(owner, Project) else owner.id,
            project_id=owner.id if is_project else None,
            registry=host,
        )


async def open_logins(
    core: Core, connection: AsyncConnection, project: Project
) -> list[RegistryLogin]:
    """One for each host, the project's before the account's.

    Raises NotSealedHere where the key file was changed.
    """
    # The project's come last, and stay.
    rows = await stored.sealed_logins(connection, [project.account_id, project.id])
    chosen = {row.host: row for row in rows}
    return [
        RegistryLogin(
            host=row.host,
            username=row.username,
            password=unseal(
                core.keys.master, _purpose(row.scope_id, row.host, row.username), row.sealed
            ).decode(),
        )
        for row in chosen.values()
    ]


def _scopes(owner: Project | Account) -> list[str]:
    return [owner.account_id, owner.id] if isinstance(owner, Project) else [owner.id]


def _host_fault(host: str) -> str | None:
    good = len(host) <= MAX_HOST_CHARACTERS and is_registry(host) and DOMAIN.fullmatch(host)
    if good:
        return None
    return (
        f"{host[:100]!r} is no registry: write its host as image references have it, such as "
        "registry.example:5000 or docker.io"
    )


def _fault(username: str, password: str) -> str | None:
    if not re.fullmatch(r"[^\s:\x00-\x1f\x7f]+", username):
        return "the username must be one word without `:`"
    if len(username) > MAX_USERNAME_CHARACTERS:
        return f"the username is longer than {MAX_USERNAME_CHARACTERS} characters"
    if not password or "\0" in password:
        return "the password is empty" if not password else "the password holds a NUL byte"
    if len(password.encode("utf-8", "surrogatepass")) > MAX_PASSWORD_BYTES:
        return f"the password is larger than {MAX_PASSWORD_BYTES // 1024} KiB"
    return None


def _purpose(scope_id: str, host: str, username: str) -> str:
    return f"registry {scope_id} {host} {username}"
