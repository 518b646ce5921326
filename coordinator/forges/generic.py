"""The generic webhook, which any script can send; docs/webhooks.md describes it. Pure.

{"event": "push", "repository": URL, "refs": [{"ref": …, "before": …, "after": …}]}
"""

from __future__ import annotations

from collections.abc import Mapping

from coordinator.domain.pushes.deliveries import (
    MAX_REFS,
    ForgeEvent,
    PushedRef,
    is_ref,
    sha_of,
)
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

    def verify(self, secret: str, headers: Mapping[str, str], body: bytes) -> bool:
        given = next((headers[name] for name in SIGNATURES if name in headers), None)
        return verify_hmac(secret, given, body)

    def parse(self, headers: Mapping[str, str], body: bytes) -> ParsedDelivery:
        payload = read_body(headers, body)
        given = headers.get(DELIVERY) or inner(payload, "deliveryId")
        return ParsedDelivery(delivery_id=read_delivery_id(given, body), event=_event(payload))


def _event(payload: object) -> ForgeEvent:
    kind = event_name(text(payload, "event"), "push")
    if kind == "ping":
        return ForgeEvent(kind=kind, ignored="a ping: the webhook works")
    if kind != "push":
        return ForgeEvent(kind=kind, ignored=f"events of type {kind} start no build")
    given = inner(payload, "refs")
    entries = given if isinstance(given, list) else [payload]
    if len(entries) > MAX_REFS:
        ignored: str | None = f"{len(entries)} refs in one event: at most {MAX_REFS} are built"
        refs: list[PushedRef] = []
    else:
        refs = [ref for entry in entries if (ref := _pushed(entry)) is not None]
        ignored = None if refs else "the event names no branch or tag that has moved"
    repository = text(payload, "repository") or text(payload, "repository", "url")
    return ForgeEvent(
        kind=kind,
        repositories=(repository[:2000],) if repository else (),
        refs=refs,
        message=commit_message(payload, "message"),
        ignored=ignored,
    )


def _pushed(entry: object) -> PushedRef | None:
    ref, after = text(entry, "ref"), inner(entry, "after")
    if ref is None or not is_ref(ref):
        return None
    deleted = after is None or (isinstance(after, str) and not after.strip("0"))
    if not deleted and sha_of(after) is None:
        return None
    return PushedRef(ref=ref, before=sha_of(inner(entry, "before")), after=sha_of(after))
