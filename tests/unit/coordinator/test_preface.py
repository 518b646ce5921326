"""What one coordinator says of a client whose connection it passes on."""

from __future__ import annotations

import pytest

from coordinator.peers.preface import PREFACE_BYTES, client_of, preface
from coordinator.services.keys import Keys

KEYS = Keys(b"k" * 32)
LONGEST = "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255"


@pytest.mark.parametrize("client", ["192.0.2.7", "::1", LONGEST])
@pytest.mark.parametrize("number", [0, 2**63 - 1])
def test_it_says_who_the_client_is(client: str, number: int) -> None:
    said = preface(KEYS, number, client)
    assert len(said) == PREFACE_BYTES
    assert client_of(KEYS, number, said) == client


def test_it_is_for_one_term_and_by_one_key() -> None:
    said = preface(KEYS, 4, "192.0.2.7")
    assert client_of(KEYS, 5, said) is None
    assert client_of(Keys(b"x" * 32), 4, said) is None


@pytest.mark.parametrize(
    "given",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost: here\r\n\r\n",
        b"\xff" * PREFACE_BYTES,
        preface(KEYS, 4, "192.0.2.7").replace(b"192.0.2.7", b"192.0.2.8"),
        preface(KEYS, 4, "192.0.2.7")[:60],
    ],
)
def test_what_no_coordinator_said_is_of_nobody(given: bytes) -> None:
    assert client_of(KEYS, 4, given) is None
