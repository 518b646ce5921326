"""Webhooks: the signature first, then the inbox, then the answer."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from io import BytesIO
from tempfile import SpooledTemporaryFile
from typing import IO

from aiohttp import web
from multidict import CIMultiDict

from coordinator.api.http.bodies import pieces
from coordinator.api.http.context import CORE, DELIVERIES
from coordinator.api.http.fields import Shown
from coordinator.api.http.middleware import address_of
from coordinator.api.http.operations import add_operations, operation
from coordinator.api.http.shares import FairShares
from coordinator.api.pushes.deliveries import BuildLink, delivery_shown
from coordinator.domain.errors import Invalid, NotFound, TooLarge, TooSlow, Unauthenticated
from coordinator.domain.pushes.deliveries import Delivery, DeliveryState, ForgeEvent
from coordinator.forges import FORGES, parse_delivery, sender_of, webhook_url
from coordinator.forges.forge import Forge
from coordinator.forges.payload import ParsedDelivery, Unreadable
from coordinator.git.client_pace import SLOWEST_BYTES_A_SECOND
from coordinator.ports import NotRead
from coordinator.services.projects.project_changes import webhook_secret_of

MAX_BODY_BYTES = 25 * 1024 * 1024
"""GitHub's own limit."""
LARGE_BYTES = 256 * 1024
LARGE_AT_ONCE = 32
LARGE_OF_ONE_CLIENT = 4
"""Anybody may send a body before we know whether it is signed: only so many large ones are taken
at a time, into files, each within BODY_SECONDS and at LARGE_BYTES_A_SECOND at least."""
LARGE_IN_MEMORY = 4
"""Of those that came whole."""
LARGE_BYTES_A_SECOND = 64 * 1024
LARGE_GRACE_SECONDS = 3.0
BODY_SECONDS = 30.0
SETTLE_SECONDS = 1.0
MAX_SETTLE_SECONDS = 8.0
"""Forges give up after ten."""
_LARGE = web.AppKey("large_webhooks", FairShares)
_WHOLE = web.AppKey("whole_webhooks", asyncio.Semaphore)


class DeliveryReceipt(Shown):
    delivery_id: str
    status: DeliveryState
    reason: str | None = None
    builds: list[BuildLink]

    def lines(self) -> list[str]:
        """For people."""
        lines = [f"build #{build.number}: {build.url}" for build in self.builds]
        if self.status is DeliveryState.RECEIVED:
            lines.append("the push is received; its build follows")
        if self.reason is not None:
            lines.append(f"{self.status.value}: {self.reason}")
        return lines


def add_routes(app: web.Application) -> None:
    app[_LARGE] = FairShares(LARGE_AT_ONCE, LARGE_OF_ONE_CLIENT)
    app[_WHOLE] = asyncio.Semaphore(LARGE_IN_MEMORY)
    add_operations(app, [receive])


@operation(
    "POST",
    "/api/webhooks/{forge}/{project_id}",
    tag="Webhooks",
    summary="Receive a webhook",
    secured=False,
    status=202,
    also={200: "A repeat, which builds nothing twice"},
    errors={
        400: "The payload can't be read",
        401: "The signature is missing or wrong",
        404: "No such forge",
        413: "The body is too large",
    },
    returns=DeliveryReceipt,
    accepts="application/json",
)
async def receive(request: web.Request) -> web.Response:
    """202 with the delivery's id and status; 200 for a repeat.

    The answer comes when the delivery is processed or after a second (`?wait=` at most eight),
    whichever is first. `Accept: text/plain` gives lines for people.
    """
    addressed = FORGES.get(request.match_info["forge"])
    if addressed is None:
        raise NotFound(f"no such forge; known are {', '.join(FORGES)} (gitea is Forgejo's, too)")
    forge = sender_of(request.headers, addressed)
    project_id, deliveries = request.match_info["project_id"], request.app[DELIVERIES]
    body = await _read(request)
    secret = await webhook_secret_of(request.app[CORE], project_id)
    if not forge.verify(secret, request.headers, body):
        deliveries.count_rejected(project_id)
        raise Unauthenticated("the signature is missing or not of this project's webhook secret")
    try:
        parsed = await _parsed(request, forge, project_id, body)
    except Unreadable as error:
        raise Invalid(str(error)) from error
    except NotRead as error:
        raise Invalid(f"the body {error.reason}") from error
    event = parsed.event if forge is addressed else _with_address(request, forge, parsed.event)
    receipt = await deliveries.receive(project_id, forge.name, parsed.delivery_id, event)
    delivery = receipt.delivery
    if delivery.state is DeliveryState.RECEIVED:
        delivery = await deliveries.settled(delivery, _wait_seconds(request))
    return _answer(request, delivery, 202 if receipt.new else 200)


def _with_address(request: web.Request, forge: Forge, event: ForgeEvent) -> ForgeEvent:
    """Understood all the same: what is sent, and not where to, says whose words it has."""
    address = webhook_url(request.app[CORE].public_url, forge, request.match_info["project_id"])
    return replace(event, note=f"this webhook is {forge.title}'s, whose address is {address}")


async def _parsed(
    request: web.Request, forge: Forge, project_id: str, body: bytes
) -> ParsedDelivery:
    """Raises Unreadable, NotRead."""
    if len(body) <= LARGE_BYTES:
        return forge.parse(request.headers, body)
    headers = CIMultiDict(request.headers)
    readings = request.app[CORE].readings
    return await readings.run(project_id, parse_delivery, forge.name, headers, body)


async def _read(request: web.Request) -> bytes:
    """Raises TooLarge, TooSlow."""
    length = request.content_length
    if length is not None and length > MAX_BODY_BYTES:
        raise TooLarge(f"a webhook's body may have {MAX_BODY_BYTES} bytes")
    if length is not None and length <= LARGE_BYTES:
        with BytesIO() as body:
            await _take(request, body, BODY_SECONDS, SLOWEST_BYTES_A_SECOND)
            return body.getvalue()
    with SpooledTemporaryFile(LARGE_BYTES) as file:
        async with request.app[_LARGE].share(address_of(request)):
            await _take(request, file, LARGE_GRACE_SECONDS, LARGE_BYTES_A_SECOND)
        # What a slow client can hold up is behind us.
        async with request.app[_WHOLE]:
            file.seek(0)
            return await asyncio.to_thread(file.read)


async def _take(request: web.Request, file: IO[bytes], grace_seconds: float, slowest: int) -> None:
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in pieces(request, grace_seconds=grace_seconds, slowest=slowest):
                if file.tell() + len(chunk) > MAX_BODY_BYTES:
                    raise TooLarge(f"a webhook's body may have {MAX_BODY_BYTES} bytes")
                file.write(chunk)
    except TimeoutError as error:
        raise TooSlow(f"the body did not come within {BODY_SECONDS:.0f} s") from error


def _wait_seconds(request: web.Request) -> float:
    text = request.query.get("wait", "")
    if not (text.isascii() and text.isdigit() and len(text) < 4):
        return SETTLE_SECONDS
    return min(float(text), MAX_SETTLE_SECONDS)


def _answer(request: web.Request, delivery: Delivery, status: int) -> web.Response:
    shown = delivery_shown(request, delivery)
    receipt = DeliveryReceipt(
        delivery_id=shown.delivery_id,
        status=shown.status,
        reason=shown.reason,
        builds=shown.builds,
    )
    if "text/plain" in request.headers.get("Accept", ""):
        return web.Response(status=status, text="".join(f"{line}\n" for line in receipt.lines()))
    return receipt.answer(status)
