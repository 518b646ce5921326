"""Secrets at rest: AES-256-GCM under keys derived from the coordinator's own."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NONCE_BYTES = 12
_INFO = b"pushrod sealed v1: "


class NotSealedHere(Exception):
    """The bytes were sealed with another key, for another purpose, or have been changed."""


def seal(master: bytes, purpose: str, plain: bytes) -> bytes:
    """`purpose` says whose secret it is: opened for another purpose, it does not open."""
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + _cipher(master, purpose).encrypt(nonce, plain, purpose.encode())


def unseal(master: bytes, purpose: str, sealed: bytes) -> bytes:
    """Raises NotSealedHere."""
    from cryptography.exceptions import InvalidTag

    nonce, text = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
    try:
        return _cipher(master, purpose).decrypt(nonce, text, purpose.encode())
    except (InvalidTag, ValueError) as error:
        raise NotSealedHere(purpose) from error


def _cipher(master: bytes, purpose: str) -> AESGCM:
    # cryptography is heavy: a coordinator without secrets need not load it.
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    key = HKDF(algorithm=SHA256(), length=32, salt=None, info=_INFO + purpose.encode())
    return AESGCM(key.derive(master))
