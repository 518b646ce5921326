"""What the forges' calls for webhooks have in common. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from coordinator.domain.outbox.calls import Call


def get(url: str, headers: Mapping[str, str]) -> Call:
    accepted = {"Accept": "application/json", "User-Agent": "pushrod", **headers}
    return Call(method="GET", url=url, headers=accepted)
