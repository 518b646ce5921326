"""`--auth none`: whoever reaches this machine's own loopback address may do everything.

A page of another site, open in a browser on this machine, reaches it too. So a request without a
token must name us by a loopback name (a site whose name was pointed at 127.0.0.1 names itself)
and must not come from another site's page.
"""

from __future__ import annotations

from collections.abc import Mapping

from coordinator.domain.errors import Forbidden
from coordinator.domain.people.permissions import RIGHTS, Principal, PrincipalKind
from coordinator.domain.people.tokens import Role

LOCAL = Principal(
    kind=PrincipalKind.PERSON,
    name="local user",
    token_id="local",  # noqa: S106 - an id, no secret
    account_id=None,
    rights=RIGHTS[Role.ADMIN],
)
NAMES = ("127.0.0.1", "localhost", "[::1]")
FORWARDED = ("Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP")
"""What a proxy adds: whoever comes through one need not be on this machine."""


def check_local(headers: Mapping[str, str], port: int) -> None:
    """Raises Forbidden."""
    if any(name in headers for name in FORWARDED):
        raise Forbidden("without a token, this coordinator is not called through a proxy")
    hosts = {f"{name}:{port}" for name in NAMES} | (set(NAMES) if port == 80 else set())
    if headers.get("Host", "").lower() not in hosts:
        raise Forbidden(f"without a token, call this coordinator by http://127.0.0.1:{port}")
    origin = headers.get("Origin")
    if origin is not None and origin.lower().removeprefix("http://") not in hosts:
        raise Forbidden("without a token, other sites' pages may not call this coordinator")
    if headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
        raise Forbidden("without a token, other sites' pages may not call this coordinator")
