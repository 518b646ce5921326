"""Specification 001's builds are made once for each `Idempotency-Key`."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

from aiohttp import web

from coordinator.api.dialects.build_execution_models import BuildShown
from coordinator.api.dialects.build_execution_operation import PATH
from coordinator.api.http.context import KEYED_REQUESTS
from coordinator.api.http.operations import JSON
from coordinator.domain.builds.keyed_requests import KeyedRequest, fingerprint_of
from coordinator.domain.errors import Invalid
from coordinator.domain.model import Build
from coordinator.domain.people.permissions import Principal

HEADER = "Idempotency-Key"
_KEY = "[!-~]([ -~]{0,253}[!-~])?"
OPTIONAL_HEADERS = {
    HEADER: {
        "type": "string",
        "pattern": f"^{_KEY}$",
        "description": "A text of yours, such as a UUID, for each new build: the same request with "
        "the same key within a day makes none and is answered as the first one was",
    }
}
Make = Callable[[KeyedRequest | None], Awaitable[Build]]


async def made_once(
    request: web.Request,
    principal: Principal,
    asked: str,
    show: Callable[[Build], BuildShown],
    make: Make,
) -> web.Response:
    """The 201 of the build that `make` makes, or that it made for this key before.

    `asked` is the request's body in the one spelling of its meaning. Raises Invalid, Conflict.
    """

    def answer(build: Build) -> str:
        return show(build).model_dump_json(exclude_none=True)

    key = _key(request)
    if key is None:
        build = await make(None)
        return _created(build.id, answer(build))
    keyed = KeyedRequest(
        account_id=principal.account_id or "",
        holder=principal.holder,
        key=key,
        fingerprint=fingerprint_of(request.method, request.path.lower(), asked),
        answer=answer,
    )
    async with request.app[KEYED_REQUESTS].turn(keyed) as kept:
        if kept is not None:
            return _created(kept.build_id, kept.answer)
        build = await make(keyed)
        return _created(build.id, answer(build))


def _key(request: web.Request) -> str | None:
    """Raises Invalid."""
    given = request.headers.getall(HEADER, [])
    if not given:
        return None
    if len(given) > 1 or not re.fullmatch(_KEY, given[0], re.ASCII):
        message = "write 1 to 255 printable ASCII characters, once"
        raise Invalid(f"the {HEADER} can't be read", details=[{"path": HEADER, "message": message}])
    return given[0]


def _created(build_id: str, text: str) -> web.Response:
    headers = {"Location": f"{PATH}/{build_id}"}
    return web.Response(status=201, text=text, content_type=JSON, headers=headers)
