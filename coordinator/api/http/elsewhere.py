"""Files that the store of objects hands out itself, so that their bytes do not pass through us."""

from __future__ import annotations

from aiohttp import web

from coordinator.api.http.context import CORE
from coordinator.domain.people.permissions import Principal
from pipelines_schema.redirects import FOLLOW, HEADER, NONE, SMALLEST_BYTES, STATUS

WORDS = "This file is at the address in Location: follow redirects, as curl does by --location.\n"
SENT_ON = {STATUS: "It is at the address in Location, in the bucket of the setting `objects`"}
"""As an operation declares it."""
REDIRECTS = {
    HEADER: {
        "type": "string",
        "description": f"`{FOLLOW}`: the caller goes where a redirect leads; `{NONE}`: it does "
        "not. Without it a step's token does not, and every other does",
    }
}


async def elsewhere(
    request: web.Request,
    principal: Principal,
    *,
    account_id: str,
    sha256: str,
    size: int,
    disposition: str = "attachment",
) -> web.Response | None:
    """Where the file is, for whoever was found to be allowed to have it; None: it is to be sent.

    The address is a credential, good for `objects_signed_seconds`.
    """
    if size < SMALLEST_BYTES or request.method != "GET" or not _follows(request, principal):
        return None
    blobs = request.app[CORE].blobs
    address = await blobs.address(account_id, sha256, disposition=disposition)
    if address is None:
        return None
    headers = {
        "Location": address,
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
    }
    return web.Response(status=STATUS, headers=headers, text=WORDS)


def _follows(request: web.Request, principal: Principal) -> bool:
    """Of a step's scripts, and of agents of before, nobody does who does not say so."""
    said = request.headers.get(HEADER)
    return said == FOLLOW if principal.step_id is not None else said != NONE
