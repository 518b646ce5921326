"""Registries tried: from this machine, with the login that a project or account keeps."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from coordinator.domain.errors import NotFound
from coordinator.domain.model import Account, Project
from coordinator.domain.outbox.registry_tries import (
    Tried,
    challenge_of,
    of_login,
    of_ping,
    ping,
    token_call,
)
from coordinator.domain.people.permissions import Principal, Right
from coordinator.ports import OutgoingHttp, RemoteFailed
from coordinator.services.core import Core
from coordinator.services.projects.registry_logins import open_logins
from pipelines_schema.contract_images import RegistryLogin

TRY_SECONDS = 10.0
"""Of all requests for one registry together."""


@dataclass(frozen=True, slots=True)
class RegistryTries:
    core: Core
    http: OutgoingHttp

    async def login_of(self, principal: Principal, owner: Project | Account, host: str) -> Tried:
        """Raises NotFound where there is no login."""
        principal.require(Right.MANAGE)
        host = host.lower()
        logins = await self.core.database.read(
            lambda connection: open_logins(self.core, connection, owner)
        )
        login = next((one for one in logins if one.host == host), None)
        if login is None:
            raise NotFound(f"there is no login to {host[:100]!r}")
        plain = host in self.core.settings.insecure_hosts
        return await tried(self.http, host, login, plain=plain)


async def tried(
    http: OutgoingHttp, host: str, login: RegistryLogin | None = None, *, plain: bool = False
) -> Tried:
    """Whether the registry is there, and takes the login; `plain`: asked by http."""
    try:
        async with asyncio.timeout(TRY_SECONDS):
            return await _tried(http, host, login, plain=plain)
    except TimeoutError:
        says = f"it did not answer within {TRY_SECONDS:g} s"
    except RemoteFailed as error:
        says = str(error)
    return Tried(good=False, says=says, remedy=_remedy(host, says))


async def _tried(
    http: OutgoingHttp, host: str, login: RegistryLogin | None, *, plain: bool
) -> Tried:
    """Raises RemoteFailed."""
    reply = await http.send(ping(host, http=plain))
    found = of_ping(host, reply)
    if found is not None and (login is None or not found.good):
        return found
    if login is None:
        return Tried(
            good=True, says="it answers, and asks for a login where an image is not public"
        )
    challenge = challenge_of(reply)
    if challenge is None or challenge.scheme == "basic":
        return of_login(host, login, await http.send(ping(host, login, http=plain)))
    call = token_call(challenge, host, login)
    if call is None:
        return Tried(
            good=False,
            says="it wants the login sent by plain http to another server: nothing was sent",
            remedy="set the registry's token service (realm) to an https address",
        )
    return of_login(host, login, await http.send(call))


def _remedy(host: str, says: str) -> str:
    if "certificate" in says:
        return (
            f"the engine has to know the authority that signed {host}'s certificate: "
            "pushrod agent … --ca-file FILE, or the daemon's own configuration"
        )
    return f"curl -v https://{host}/v2/  # on the engine's machine: name, proxy, firewall"
