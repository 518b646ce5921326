"""Whether a registry is there and takes a login: what to ask it, and what its answers mean. Pure.

Asked as the distribution API has it: `GET /v2/`, and where that wants a token, its service for one.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

from coordinator.domain.outbox.calls import Call, Reply
from pipelines_schema.contract_images import RegistryLogin
from pipelines_schema.image_references import DOCKER_HUB

_HUB_ANSWERS_AT = "registry-1.docker.io"
_PARAMETER = re.compile(r'([a-z]+)="([^"\\]*)"', re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What came of it; `says` and `remedy` hold nothing of a password."""

    good: bool
    says: str
    remedy: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """How the registry wants to be asked."""

    scheme: str
    """`basic` or `bearer`."""
    realm: str = ""
    service: str = ""


def ping(host: str, login: RegistryLogin | None = None, *, http: bool = False) -> Call:
    """With a login as the scheme Basic has it."""
    server = _HUB_ANSWERS_AT if host == DOCKER_HUB else host
    headers = {"User-Agent": "pushrod", **(_basic(login) if login else {})}
    return Call(method="GET", url=f"{'http' if http else 'https'}://{server}/v2/", headers=headers)


def token_call(challenge: Challenge, host: str, login: RegistryLogin | None) -> Call | None:
    """None where the registry would have the login sent to where it could be read on its way."""
    realm = urlsplit(challenge.realm)
    if realm.scheme not in ("http", "https") or realm.username is not None:
        return None
    if login is not None and realm.scheme == "http" and realm.netloc != host:
        return None
    query = urlencode({"service": challenge.service, **_account(login)})
    parts = realm._replace(query="&".join(filter(None, (realm.query, query))), fragment="")
    headers = {"User-Agent": "pushrod", **(_basic(login) if login else {})}
    return Call(method="GET", url=parts.geturl(), headers=headers)


def challenge_of(reply: Reply) -> Challenge | None:
    """None where it asks for nothing that we know."""
    scheme, _, rest = reply.headers.get("www-authenticate", "").partition(" ")
    found = {name.lower(): value for name, value in _PARAMETER.findall(rest)}
    if scheme.lower() == "basic":
        return Challenge(scheme="basic")
    if scheme.lower() == "bearer" and "realm" in found:
        return Challenge(scheme="bearer", realm=found["realm"], service=found.get("service", ""))
    return None


def of_ping(host: str, reply: Reply) -> Tried | None:
    """None where it asks who is there."""
    if reply.status == 401 and challenge_of(reply) is not None:
        return None
    if reply.status == 200:
        return Tried(good=True, says="it answers, and asks for no login")
    return Tried(
        good=False,
        says=f"what answers there is no registry (status {reply.status} for /v2/)",
        remedy=f"curl -i https://{host}/v2/  # and write the host as image references have it",
    )


def of_login(host: str, login: RegistryLogin, reply: Reply) -> Tried:
    if reply.status == 200 and (not reply.body or _is_json(reply)):
        return Tried(good=True, says=f"it answers, and takes the login of {login.username}")
    if reply.status in (400, 401, 403):
        return Tried(
            good=False,
            says=f"it refuses the login of {login.username} (status {reply.status})",
            remedy=f"pushrod registry login {host} --username {login.username}  # and for whom",
        )
    return Tried(
        good=False,
        says=f"it does not say whether it takes the login (status {reply.status})",
        remedy="try it again later: the registry has trouble of its own",
    )


def _is_json(reply: Reply) -> bool:
    try:
        return isinstance(json.loads(reply.body), dict)
    except ValueError:
        return False


def _basic(login: RegistryLogin) -> Mapping[str, str]:
    pair = base64.b64encode(f"{login.username}:{login.password}".encode()).decode()
    return {"Authorization": f"Basic {pair}"}


def _account(login: RegistryLogin | None) -> Mapping[str, str]:
    return {} if login is None else {"account": login.username}
