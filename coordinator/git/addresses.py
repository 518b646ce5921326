"""At which addresses a remote repository may be reached."""

from __future__ import annotations

import asyncio
import ipaddress
import socket

from coordinator.domain.pushes.repo_url import (
    RemotePolicy,
    RemoteUrl,
    is_public,
    private_address_refusal,
)
from coordinator.ports import RemoteFailed

CONNECT_SECONDS = 10.0


async def reachable_address(url: RemoteUrl, policy: RemotePolicy) -> str | None:
    """An address of the host that answers and may be reached; None for a file.

    Raises RemoteFailed.
    """
    if url.scheme == "file":
        return None
    for address in await allowed_addresses(url.host, url.port, policy):
        if await _answers(address, url.port):
            return address
    raise RemoteFailed(f"{url.host}:{url.port} can't be reached", permanent=False)


async def allowed_addresses(host: str, port: int, policy: RemotePolicy) -> list[str]:
    """All addresses of a host. Raises RemoteFailed where the policy forbids one of them."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # a TimeoutError is an OSError
        raise RemoteFailed(f"the name {host} can't be resolved", permanent=False) from error
    addresses = list(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found))
    if not policy.private_addresses:
        # One private address among public ones is refused too: the next answer may be it.
        for address in addresses:
            if not is_public(ipaddress.ip_address(address)):
                raise RemoteFailed(private_address_refusal(host), permanent=True)
    return addresses


async def _answers(address: str, port: int) -> bool:
    """git knows no limit for the time to connect, so we look first."""
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(address, port)
    except OSError:  # a TimeoutError is one
        return False
    writer.close()
    return True
