"""Which address asks, when trusted proxies may stand between. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
ONE_CLIENT_BITS = 64
"""Of an address of IPv6: whoever has one has all of its network."""


def client_address(peer: str, forwarded: Iterable[str], proxies: Sequence[Network]) -> str:
    """The nearest address that is no trusted proxy; of IPv6 the network that one client has.

    `forwarded` are the values of X-Forwarded-For, in their order. Each proxy adds who asked it at
    the right, so only what stands right of the first stranger was written by those we trust.
    Where a trusted proxy names no address, the peer counts.
    """
    address = _read(peer)
    if address is None:
        return peer
    if not _is_one_of(proxies, address):
        return _client(address)
    client = address
    for text in reversed([part for value in forwarded for part in value.split(",")]):
        found = _read(text.strip())
        if found is None:
            return _client(address)
        client = found
        if not _is_one_of(proxies, client):
            break
    return _client(client)


def _client(address: Address) -> str:
    if isinstance(address, IPv4Address):
        return str(address)
    return str(ip_network((address, ONE_CLIENT_BITS), strict=False))


def _is_one_of(networks: Iterable[Network], address: Address) -> bool:
    return any(address in network for network in networks)


def _read(text: str) -> Address | None:
    """None for what is no address; a scope (`%eth0`) means nothing on another machine."""
    try:
        address = ip_address("" if "%" in text else text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
