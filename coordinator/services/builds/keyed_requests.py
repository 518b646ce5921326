"""Requests with a key: the second one of a key is answered as the first one was."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from coordinator.domain.builds.keyed_requests import KeptAnswer, KeyedRequest
from coordinator.domain.errors import Conflict
from coordinator.services.core import Core
from coordinator.services.locks import Locks
from coordinator.storage.builds import keyed_requests as stored


@dataclass(frozen=True, slots=True)
class KeyedRequests:
    """The answer is kept in the transaction that makes the build (`Draft.keyed`), so that none is
    made twice, whatever is killed in between."""

    core: Core
    _locks: Locks = field(default_factory=Locks)

    @asynccontextmanager
    async def turn(self, request: KeyedRequest) -> AsyncIterator[KeptAnswer | None]:
        """The answer that was given, or None for the first one, which others of the key wait for.

        Raises Conflict where the key came with another request.
        """
        async with self._locks.of(f"{request.account_id} {request.holder} {request.key}"):
            kept = await self.core.database.read(
                lambda connection: stored.find_answer(connection, request, self.core.now())
            )
            if kept is not None and kept.fingerprint != request.fingerprint:
                raise Conflict(
                    f"this Idempotency-Key came with another request, which made build "
                    f"{kept.build_id}: take a new key for each new request"
                )
            yield kept
