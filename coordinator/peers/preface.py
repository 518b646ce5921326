"""What one coordinator says before it passes a client's connection on to another: whose it is."""

from __future__ import annotations

import hmac

from coordinator.services.keys import Keys

PREFACE_BYTES = 192
_WORD = "pushrod-peer-1"


def preface(keys: Keys, number: int, client: str) -> bytes:
    """`number` is the term of the leader that it is meant for, `client` an address."""
    said = f"{_WORD} {number} {client}"
    return f"{said} {keys.peer_signature(said)}".ljust(PREFACE_BYTES - 1).encode() + b"\n"


def client_of(keys: Keys, number: int, given: bytes) -> str | None:
    """None for what no coordinator with our key said to this term's leader."""
    try:
        said, _, signature = given.decode("ascii").strip().rpartition(" ")
    except UnicodeDecodeError:
        return None
    if not hmac.compare_digest(signature, keys.peer_signature(said)):
        return None
    word, term, client = said.split(" ")
    return client if (word, term) == (_WORD, str(number)) else None
