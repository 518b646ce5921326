"""Passwords: argon2id, never more than two at once, and the same work for whoever is not there.

Anybody may try to log in. So the work has threads of its own, which nothing else waits for, and
those who wait for one of them are bounded.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from coordinator.domain.errors import TooMany

if TYPE_CHECKING:
    from argon2 import PasswordHasher

AT_ONCE = 2
"""Each takes MEMORY_KIB for a tenth of a second."""
MOST_WAITING = 200
"""About ten seconds' work: who came later would have given up before his turn."""
AGAIN_SECONDS = 10
MEMORY_KIB = 7 * 1024
PASSES = 5
LANES = 1
"""Of the sets that OWASP's Password Storage Cheat Sheet calls equal the one with least memory,
which the allocator keeps after the first login."""
SALT_BYTES = 16
HASH_BYTES = 32
T = TypeVar("T")


class Passwords:
    def __init__(self) -> None:
        # A pool's own queue: a thread goes on when the one who waits for it is cancelled, and
        # would still be counted here.
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="passwords")
        self._waiting = 0
        self.stand_in = _stand_in()
        """Verified in place of a hash that there is not: it matches no password."""

    async def hash(self, password: str) -> str:
        return await self._in_turn(lambda: _hasher().hash(password))

    async def matches(self, password_hash: str | None, password: str) -> bool:
        """None: there is no such user, which takes as long to find out as a wrong password.

        Raises TooMany.
        """
        known = password_hash or self.stand_in
        right = await self._in_turn(lambda: _verify(known, password))
        return right and password_hash is not None

    async def _in_turn(self, work: Callable[[], T]) -> T:
        """Raises TooMany."""
        if self._waiting >= MOST_WAITING:
            raise TooMany("too many are logging in: try again soon", retry_after=AGAIN_SECONDS)
        done = self._threads.submit(work)
        self._waiting += 1
        ended = asyncio.wrap_future(done)
        ended.add_done_callback(self._leave)
        return await ended

    def _leave(self, _: asyncio.Future[T]) -> None:
        self._waiting -= 1


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
