"""Names become addresses that the operator's policy allows, and no others are connected to."""

from __future__ import annotations

import ipaddress
import socket

from aiohttp.abc import AbstractResolver, ResolveResult

from coordinator.domain.pushes.repo_url import RemotePolicy
from coordinator.git.addresses import allowed_addresses


class CheckedResolver(AbstractResolver):
    """Gives only addresses that the policy allows, and those are what is connected to."""

    def __init__(self, policy: RemotePolicy) -> None:
        self._policy = policy

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=_family(address),
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in await allowed_addresses(host, port, self._policy)
        ]

    async def close(self) -> None:
        """Nothing is kept."""


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET
