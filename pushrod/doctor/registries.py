"""Registries of images: reached from here, and by the coordinator with the logins that it has."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import aiohttp

from agent.engines.registry_tokens import REGISTRY
from coordinator.domain.outbox.registry_tries import Tried
from coordinator.domain.pushes.repo_url import RemotePolicy
from coordinator.outgoing_http import PolicedHttp
from coordinator.services.projects.registry_tries import TRY_SECONDS, tried
from coordinator.settings import Settings
from pipelines_schema.image_references import DOMAIN, is_registry, registry_of
from pushrod.connection import Connection
from pushrod.doctor.finding import Finding, fail, ok, warn
from pushrod.transport import quoted

ANYWHERE = RemotePolicy(http=True, private_addresses=True)
MAX_REGISTRIES = 20
MAX_OWNERS = 50
AT_ONCE = 5
LIST_SECONDS = 2.0
_NAMING = (
    "image_registry",
    "image_base_python",
    "image_base_node",
    "image_base_go",
    "image_base_go_run",
    "image_base_shell",
    "image_base_static",
)


async def check_registries(
    settings: Settings, asked_for: Sequence[str], connection: Connection | None
) -> list[Finding]:
    """Those that somebody asked for, that the settings or the coordinator's images name, and those
    for which it has logins; each once from here, and each login once from there."""
    wrong = [host for host in asked_for if not _is_host(host)]
    if wrong:
        return [
            fail(
                "registry",
                f"{wrong[0][:100]!r} is no registry",
                "write its host as image references have it: --registry registry.example:5000",
            )
        ]
    logins: list[Finding] = []
    there: list[str] = []
    if connection is not None:
        async with aiohttp.ClientSession(trust_env=False) as session:
            there, logins = await _by_the_coordinator(session, connection)
    hosts = list(dict.fromkeys([*map(str.lower, asked_for), *_of_settings(settings), *there]))
    asked = {host.lower() for host in asked_for}
    http = PolicedHttp(ANYWHERE, answer_seconds=TRY_SECONDS)
    try:
        slots = asyncio.Semaphore(AT_ONCE)
        found = await asyncio.gather(
            *(_from_here(http, host, settings, slots) for host in hosts[:MAX_REGISTRIES])
        )
    finally:
        await http.close()
    told = [
        _told(f"registry {host}", one, "asked from this machine", needed=host in asked)
        for host, one in zip(hosts, found, strict=False)
    ]
    if len(hosts) > MAX_REGISTRIES:
        left = len(hosts) - MAX_REGISTRIES
        told.append(warn("registries", f"{left} more were not asked", "name one: --registry HOST"))
    return [*told, *logins]


async def _from_here(
    http: PolicedHttp, host: str, settings: Settings, slots: asyncio.Semaphore
) -> Tried:
    async with slots:
        plain = host in settings.insecure_hosts or host.partition(":")[0] == "127.0.0.1"
        return await tried(http, host, plain=plain)


async def _by_the_coordinator(
    session: aiohttp.ClientSession, connection: Connection
) -> tuple[list[str], list[Finding]]:
    """Hosts of images that it knows and of logins; and what became of each login."""
    try:
        images = await _list(session, connection, "/api/docker-images")
        owners = await _owners(session, connection)
        logins = [
            (owner, str(login["host"]))
            for owner in owners
            for login in await _list(session, connection, f"{owner[1]}/registries")
            if login.get("of") == owner[0]
        ]
    except (aiohttp.ClientError, TimeoutError, ValueError, KeyError):
        return [], []  # whether it answers is another check's business
    hosts = [registry_of(str(one.get("imageUrl", "")).removeprefix("docker://")) for one in images]
    slots = asyncio.Semaphore(AT_ONCE)
    chosen = logins[:MAX_REGISTRIES]
    found = await asyncio.gather(
        *(_login(session, connection, owner[1], owner[2], host, slots) for owner, host in chosen)
    )
    told = [one for one in found if one is not None]
    if len(logins) > MAX_REGISTRIES:
        left = len(logins) - MAX_REGISTRIES
        told.append(warn("registry logins", f"{left} more were not tried"))
    return [*hosts, *(host for _, host in logins)], told


async def _owners(
    session: aiohttp.ClientSession, connection: Connection
) -> list[tuple[str, str, str]]:
    """`account` or `project`, its path, and what it is called."""
    found: list[tuple[str, str, str]] = []
    for account in (await _list(session, connection, "/api/accounts"))[:MAX_OWNERS]:
        id_ = quoted(str(account["id"]))
        found.append(("account", f"/api/accounts/{id_}", str(account.get("slug", id_))))
        for one in await _list(session, connection, f"/api/projects?accountId={id_}"):
            name = f"{one['account']}/{one['slug']}"
            found.append(("project", f"/api/projects/{quoted(str(one['id']))}", name))
    return found[:MAX_OWNERS]


async def _login(
    session: aiohttp.ClientSession,
    connection: Connection,
    path: str,
    of: str,
    host: str,
    slots: asyncio.Semaphore,
) -> Finding | None:
    """None where the coordinator is too old to try one."""
    url = f"{connection.url}{path}/registries/{quoted(host)}/try"
    timeout = aiohttp.ClientTimeout(total=TRY_SECONDS + LIST_SECONDS)
    try:
        async with (
            slots,
            session.post(
                url, headers=_headers(connection), timeout=timeout, allow_redirects=False
            ) as answer,
        ):
            told = json.loads(await answer.read()) if answer.status == 200 else {}
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return warn(f"login {host}", f"of {of}: the coordinator did not say in time")
    if not told:
        return None
    found = Tried(good=bool(told["good"]), says=str(told["says"]), remedy=told.get("remedy"))
    where = f"the login of {of}, asked from the coordinator's machine"
    return _told(f"login {host}", found, where, needed=True)


async def _list(
    session: aiohttp.ClientSession, connection: Connection, path: str
) -> list[dict[str, Any]]:
    """Nothing where the token may not see it."""
    timeout = aiohttp.ClientTimeout(total=LIST_SECONDS)
    url = f"{connection.url}{path}"
    async with session.get(
        url, headers=_headers(connection), timeout=timeout, allow_redirects=False
    ) as answer:
        found = json.loads(await answer.read()) if answer.status == 200 else []
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _headers(connection: Connection) -> dict[str, str]:
    return {"Authorization": f"Bearer {connection.token}"}


def _of_settings(settings: Settings) -> Sequence[str]:
    """Of those that somebody has set: a machine without them asks nobody. The private engine's own
    answers to that engine alone."""
    named = [f"{getattr(settings, name)}" for name in _NAMING if name in settings.model_fields_set]
    common = [f"{folder}/any" for folder in settings.common_registries]
    hosts = map(registry_of, [*named, *common])
    return [host for host in hosts if host != REGISTRY]


def _told(name: str, found: Tried, where: str, *, needed: bool) -> Finding:
    """What nobody asked for may be no loss: only a warning."""
    says = f"{found.says} ({where})"
    if found.good:
        return ok(name, says)
    return fail(name, says, found.remedy or "") if needed else warn(name, says, found.remedy)


def _is_host(host: str) -> bool:
    return bool(is_registry(host) and DOMAIN.fullmatch(host))
