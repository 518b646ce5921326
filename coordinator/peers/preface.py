"""What one coordinator says before it passes a client's connection on to another: whose it is."""

from __future__ import annotations

import hmac

from coordinator.services.keys import Keys

PREFACE_BYTES = 192
_WORD = "pushrod-peer-1"


def preface(keys: Keys, meant: int | str, client: str) -> bytes:
    """`meant` is who is to answer: a leader, by the number of its term, or the home of an agent, by
    its name. `client` is an address."""
    said = f"{_WORD} {meant} {client}"
    return f"{said} {keys.peer_signature(said)}".ljust(PREFACE_BYTES - 1).encode() + b"\n"


def client_of(keys: Keys, meant: int | str, given: bytes) -> str | None:
    """None for what no coordinator with our key said to this term's leader, or this home."""
    try:
        said, _, signature = given.decode("ascii").strip().rpartition(" ")
    except UnicodeDecodeError:
        return None
    if not hmac.compare_digest(signature, keys.peer_signature(said)):
        return None
    word, term, client = said.split(" ")
    return client if (word, term) == (_WORD, str(meant)) else None
