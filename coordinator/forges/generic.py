"""The generic webhook, which any script can send; docs/webhooks.md describes it. Pure.

{"event": "push", "repository": URL, "refs": [{"ref": …, "before": …, "after": …}]}
"""

from __future__ import annotations

from collections.abc import Mapping

from coordinator.domain.pushes.deliveries import ForgeEvent, PushedRef
from coordinator.forges.events import ZEROS, moved_ref, of_no_interest, ping, push_event
from coordinator.forges.payload import (
    ParsedDelivery,
    commit_message,
    event_name,
    inner,
    read_body,
    read_delivery_id,
    text,
    verify_hmac,
)

SIGNATURES = ("X-Pushrod-Signature-256", "X-Hub-Signature-256")
"""The second is what many a script that signs for GitHub already sends."""
DELIVERY = "X-Pushrod-Delivery"


class Generic:
    name = "generic"
    title = "a script"
    apis = ()

    def recognises(self, headers: Mapping[str, str]) -> bool:
        return DELIVERY in headers

    def verify(self, secret: str, headers: Mapping[str, str], body: bytes) -> bool:
        given = next((headers[name] for name in SIGNATURES if name in headers), None)
        return verify_hmac(secret, given, body)

    def parse(self, headers: Mapping[str, str], body: bytes) -> ParsedDelivery:
        payload = read_body(headers, body)
        given = headers.get(DELIVERY) or inner(payload, "deliveryId")
        return ParsedDelivery(delivery_id=read_delivery_id(given, body), event=_event(payload))

    def page(self, address: str) -> None:
        return None


def _event(payload: object) -> ForgeEvent:
    kind = event_name(text(payload, "event"), "push")
    if kind == "ping":
        return ping(kind)
    if kind != "push":
        return of_no_interest(kind)
    given = inner(payload, "refs")
    repository = text(payload, "repository") or text(payload, "repository", "url")
    return push_event(
        kind,
        (repository[:2000],) if repository else (),
        [_moved(entry) for entry in (given if isinstance(given, list) else [payload])],
        message=commit_message(payload, "message"),
    )


def _moved(entry: object) -> PushedRef | None:
    """Without `after` it was deleted; one that names the same twice asks for it all the same."""
    before, after = inner(entry, "before"), inner(entry, "after")
    return moved_ref(
        text(entry, "ref"), None if before == after else before, ZEROS if after is None else after
    )
