"""Bitbucket's webhooks: Cloud's and Data Center's have other fields, and tell by their event. Pure.

support.atlassian.com/bitbucket-cloud/docs/event-payloads,
confluence.atlassian.com/bitbucketserver/event-payload-938025882.html.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from coordinator.domain.pushes.deliveries import ForgeEvent
from coordinator.forges.bitbucket import cloud_events, data_center_events
from coordinator.forges.bitbucket.api import BitbucketCloudApi, BitbucketDataCenterApi
from coordinator.forges.events import of_no_interest, ping
from coordinator.forges.links import RepositoryPage
from coordinator.forges.payload import (
    ParsedDelivery,
    event_name,
    read_body,
    read_delivery_id,
    verify_hmac,
)

EVENT = "X-Event-Key"
_DELIVERIES = ("X-Request-UUID", "X-Request-Id")
"""Cloud's, which stays when it tries again, and Data Center's."""


class Bitbucket:
    name = "bitbucket"
    title = "Bitbucket"
    apis = (BitbucketDataCenterApi(), BitbucketCloudApi())

    def recognises(self, headers: Mapping[str, str]) -> bool:
        return EVENT in headers

    def verify(self, secret: str, headers: Mapping[str, str], body: bytes) -> bool:
        return verify_hmac(secret, headers.get("X-Hub-Signature"), body)

    def parse(self, headers: Mapping[str, str], body: bytes) -> ParsedDelivery:
        payload = read_body(headers, body)
        kind = event_name(headers.get(EVENT), "unnamed")
        given = next((headers[name] for name in _DELIVERIES if name in headers), None)
        return ParsedDelivery(
            delivery_id=read_delivery_id(given, body), event=_event(kind, payload)
        )

    def page(self, address: str) -> RepositoryPage | None:
        if urlsplit(address).hostname == "bitbucket.org":
            return cloud_events.page(address)
        return data_center_events.page(address)


def _event(kind: str, payload: object) -> ForgeEvent:
    match kind.split(":"):
        case ["diagnostics", "ping"]:
            return ping(kind)
        case ["repo", "push"]:
            return cloud_events.push(kind, payload)
        case ["pullrequest", what]:
            return cloud_events.pull_request(kind, what, payload)
        case ["repo", "refs_changed"]:
            return data_center_events.push(kind, payload)
        case ["pr", what]:
            return data_center_events.pull_request(kind, what, payload)
        case _:
            return of_no_interest(kind)
