"""Whose address counts, when proxies stand before the coordinator and clients lie."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from coordinator.domain.people.client_address import client_address

PROXIES = tuple(ip_network(text) for text in ("127.0.0.1", "10.0.0.0/8", "2001:db8::/32"))


def seen(peer: str, *forwarded: str) -> str:
    return client_address(peer, forwarded, PROXIES)


def test_without_trusted_proxies_nothing_that_is_said_is_believed() -> None:
    assert client_address("127.0.0.1", ["192.0.2.1"], ()) == "127.0.0.1"


def test_a_peer_that_is_no_trusted_proxy_speaks_for_nobody_else() -> None:
    assert seen("198.51.100.7", "192.0.2.1") == "198.51.100.7"


def test_a_trusted_proxy_says_who_asked_it() -> None:
    assert seen("127.0.0.1", "192.0.2.1") == "192.0.2.1"
    assert seen("2001:db8::1", "2001:DB9:0::1") == "2001:db9::/64"


def test_what_the_client_wrote_before_the_proxy_is_not_believed() -> None:
    assert seen("127.0.0.1", "203.0.113.9, 192.0.2.1") == "192.0.2.1"
    assert seen("127.0.0.1", "127.0.0.1, 10.1.2.3, 192.0.2.1") == "192.0.2.1"
    assert seen("127.0.0.1", "nonsense, 192.0.2.1") == "192.0.2.1"


def test_several_headers_are_one_list() -> None:
    assert seen("127.0.0.1", "203.0.113.9", "192.0.2.1") == "192.0.2.1"
    assert seen("127.0.0.1", "203.0.113.9, 192.0.2.1", "10.0.0.1") == "192.0.2.1"


def test_proxies_behind_proxies_are_passed_over() -> None:
    assert seen("127.0.0.1", "192.0.2.1, 10.0.0.1,10.0.0.2") == "192.0.2.1"


def test_where_all_are_proxies_the_farthest_one_asked() -> None:
    assert seen("127.0.0.1", "10.0.0.1, 10.0.0.2") == "10.0.0.1"


@pytest.mark.parametrize(
    "forwarded",
    ["", " , ", "unknown", "192.0.2.1,", "192.0.2.1:80", "192.0.2.256", "fe80::1%eth0", "1" * 9000],
)
def test_a_header_that_names_no_address_leaves_the_peer(forwarded: str) -> None:
    assert seen("127.0.0.1", forwarded) == "127.0.0.1"


def test_a_missing_header_or_peer_is_no_mistake() -> None:
    assert seen("127.0.0.1") == "127.0.0.1"
    assert seen("") == ""
    assert seen("", "192.0.2.1") == ""


def test_one_machine_has_one_name_in_both_families() -> None:
    assert seen("::ffff:127.0.0.1", "::ffff:192.0.2.1") == "192.0.2.1"
    assert seen("::ffff:198.51.100.7") == "198.51.100.7"


def test_the_addresses_of_one_network_of_ipv6_are_one_client() -> None:
    assert seen("2001:db9::1") == seen("2001:db9::ffff:2") == "2001:db9::/64"
    assert seen("127.0.0.1", "2001:db9::1") == seen("2001:db9::3")
    assert seen("2001:db9:0:1::1") != seen("2001:db9::1")
    assert seen("::ffff:192.0.2.1") == "192.0.2.1"
