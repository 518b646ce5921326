"""Forges: is a webhook theirs, and what does it say? Pure: one module per forge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from coordinator.forges.forge import Forge
from coordinator.forges.generic import Generic
from coordinator.forges.github import GitHub
from coordinator.forges.payload import ParsedDelivery
from pipelines_schema import Watch

_ALL: Sequence[Forge] = (GitHub(), Generic())
FORGES: Mapping[str, Forge] = {forge.name: forge for forge in _ALL}
"""By the name that stands in the webhook's path."""


def parse_delivery(
    watch: Watch, name: str, headers: Mapping[str, str], body: bytes
) -> ParsedDelivery:
    """For a process of its own: the values of a large body take a second. Raises Unreadable."""
    return FORGES[name].parse(headers, body)
