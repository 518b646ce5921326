"""Logins to registries of images: of a project, or of an account for all its projects."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from coordinator.domain.errors import Invalid
from coordinator.domain.model import Account, Project
from coordinator.domain.people.permissions import Principal, Right
from coordinator.domain.projects.sealed import RegistryLoginShown
from coordinator.services.core import Core
from coordinator.services.projects.sealed_things import SealedThings
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.projects.sealed_things import REGISTRY_LOGINS
from pipelines_schema.contract_images import RegistryLogin
from pipelines_schema.image_references import DOMAIN, is_registry

MAX_PASSWORD_BYTES = 16 * 1024
"""The longest in use are keys of service accounts, in JSON."""
MAX_USERNAME_CHARACTERS = 255
MAX_LOGINS = 50
"""Of one project or account."""
MAX_HOST_CHARACTERS = 255


_SEALED = SealedThings(
    table=REGISTRY_LOGINS,
    purpose="registry {scope_id} {host} {username}",
    key=("host",),
    most=MAX_LOGINS,
    too_many=f"there are {MAX_LOGINS} logins already: remove one first",
    set_action="registry.login",
    remove_action="registry.logout",
    noted=("host", "registry"),
)


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
        """Raises Invalid."""
        principal.require(Right.MANAGE)
        host = host.lower()
        fault = _host_fault(host) or _fault(username, password)
        if fault is not None:
            raise Invalid(fault)
        await _SEALED.set(self.core, principal, owner, password, host=host, username=username)

    async def list_of(
        self, principal: Principal, owner: Project | Account
    ) -> Sequence[RegistryLoginShown]:
        """By host; of a project with those of its account, which stand before its own."""
        principal.require(Right.MANAGE)
        scopes = scopes_of(owner)
        found = await self.core.database.read(
            lambda connection: REGISTRY_LOGINS.shown(connection, RegistryLoginShown, scopes)
        )
        return sorted(found, key=lambda one: (one.host, scopes.index(one.scope_id)))

    async def remove(self, principal: Principal, owner: Project | Account, host: str) -> None:
        """Raises NotFound."""
        principal.require(Right.MANAGE)
        host = host.lower()
        missing = f"there is no login to {host[:100]!r}"
        await _SEALED.remove(self.core, principal, owner, missing, host=host)


async def open_logins(
    core: Core, connection: AsyncConnection, owner: Project | Account
) -> list[RegistryLogin]:
    """One for each host, the project's before the account's.

    Raises NotSealedHere where the key file was changed.
    """
    return opened(core, owner, await REGISTRY_LOGINS.rows(connection, scopes_of(owner)))


def opened(
    core: Core, owner: Project | Account, rows: Sequence[Mapping[str, Any]]
) -> list[RegistryLogin]:
    """The same, of rows that were read already."""
    scopes = scopes_of(owner)
    # The project's come last, and stay.
    in_order = sorted(rows, key=lambda row: scopes.index(row["scope_id"]))
    chosen = {row["host"]: row for row in in_order}
    return [
        RegistryLogin(host=row["host"], username=row["username"], password=_SEALED.open(core, row))
        for row in chosen.values()
    ]


def scopes_of(owner: Project | Account) -> list[str]:
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
