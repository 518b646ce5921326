"""What the coordinator asks of a forge. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from coordinator.domain.outbox.forge_place import StatusForge
from coordinator.domain.outbox.hooks import HookForge
from coordinator.forges.links import RepositoryPage
from coordinator.forges.payload import ParsedDelivery


class ForgeApi(StatusForge, HookForge, Protocol):
    """What a kind of forge is asked: statuses of commits, and webhooks."""


class Forge(Protocol):
    """One kind of forge, whose webhooks come to `/api/webhooks/<name>/<project>`."""

    @property
    def name(self) -> str: ...

    @property
    def title(self) -> str:
        """For people."""

    @property
    def apis(self) -> Sequence[ForgeApi]:
        """Those of what sends such webhooks, the one of servers of one's own first."""

    def recognises(self, headers: Mapping[str, str]) -> bool:
        """Whether it sends such headers; asked in the order of FORGES."""

    def verify(self, secret: str, headers: Mapping[str, str], body: bytes) -> bool:
        """Whether whoever sent the raw body knows the project's secret; in constant time."""

    def parse(self, headers: Mapping[str, str], body: bytes) -> ParsedDelivery:
        """What a body says, as far as we know it: any JSON is understood, or ignored with a reason.

        Raises Unreadable for what is not JSON.
        """

    def page(self, address: str) -> RepositoryPage | None:
        """Where people see the repository; None: nowhere. `address`: as `web_address` gave it."""
