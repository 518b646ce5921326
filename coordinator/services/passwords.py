"""Passwords: argon2id, never more than two at once, and the same work for whoever is not there."""

from __future__ import annotations

import asyncio
import base64
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argon2 import PasswordHasher

AT_ONCE = 2
"""Each takes MEMORY_KIB for a tenth of a second: what waits for a turn costs nothing."""
MEMORY_KIB = 7 * 1024
PASSES = 5
LANES = 1
"""Of the sets that OWASP's Password Storage Cheat Sheet calls equal the one with least memory,
which the allocator keeps after the first login."""
SALT_BYTES = 16
HASH_BYTES = 32


class Passwords:
    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(AT_ONCE)
        self.stand_in = _stand_in()
        """Verified in place of a hash that there is not: it matches no password."""

    async def hash(self, password: str) -> str:
        async with self._turns:
            return await asyncio.to_thread(lambda: _hasher().hash(password))

    async def matches(self, password_hash: str | None, password: str) -> bool:
        """None: there is no such user, which takes as long to find out as a wrong password."""
        async with self._turns:
            right = await asyncio.to_thread(_verify, password_hash or self.stand_in, password)
        return right and password_hash is not None


def is_outdated(password_hash: str) -> bool:
    """Whether it was made with other parameters than those of now."""
    return _hasher().check_needs_rehash(password_hash)


def _hasher() -> PasswordHasher:
    # A coordinator that nobody logs in to by password need not load it.
    from argon2 import PasswordHasher

    return PasswordHasher(
        time_cost=PASSES,
        memory_cost=MEMORY_KIB,
        parallelism=LANES,
        hash_len=HASH_BYTES,
        salt_len=SALT_BYTES,
    )


def _verify(password_hash: str, password: str) -> bool:
    from argon2.exceptions import InvalidHashError, VerificationError

    try:
        return _hasher().verify(password_hash, password)
    except (VerificationError, InvalidHashError):
        return False


def _stand_in() -> str:
    """As the hash of a password that nobody has, without the work of making it."""
    salt, digest = (
        base64.b64encode(secrets.token_bytes(size)).decode().rstrip("=")
        for size in (SALT_BYTES, HASH_BYTES)
    )
    return f"$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}${salt}${digest}"
