"""Files that the coordinator's object store hands out itself, where this machine reaches it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from pipelines_schema.redirects import FOLLOW, NONE, address_to_follow

DIRECT_SECONDS = 300.0
"""For so long files come through the coordinator, once the store did not give one."""

log = logging.getLogger(__name__)


class ObjectStoreReader:
    """Nobody has to reach the store: what it does not give comes from the coordinator."""

    def __init__(self, base: str, *, clock: Callable[[], float] = monotonic) -> None:
        self._base, self._clock = base, clock
        self._direct_until = clock()

    @property
    def redirects(self) -> str:
        """What a request says of redirects."""
        return FOLLOW if self._clock() >= self._direct_until else NONE

    async def open(
        self, session: aiohttp.ClientSession, location: str | None
    ) -> aiohttp.ClientResponse | None:
        """The response with the file, to be closed; None where the coordinator must be asked."""
        address = address_to_follow(self._base, location)
        if address is None:
            self._give_up("its address is not one to follow")
            return None
        try:
            # Without our token, and as signed: a changed letter would be another signature.
            response = await session.get(URL(address, encoded=True), allow_redirects=False)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            self._give_up(type(error).__name__, address)
            return None
        if response.status != 200:
            response.close()
            self._give_up(f"it answered {response.status}", address)
            return None
        return response

    def broke_off(self, response: aiohttp.ClientResponse, error: Exception) -> None:
        """In the middle of the file, which is asked for again."""
        self._give_up(f"it broke off: {type(error).__name__}", str(response.url))

    def _give_up(self, why: str, address: str | None = None) -> None:
        """The address is a credential: its host is all that is told of it."""
        self._direct_until = self._clock() + DIRECT_SECONDS
        host = urlsplit(address).hostname if address else None
        log.warning(
            "the object store%s can't be used from here (%s): files come through the coordinator "
            "for %d s",
            *(f" at {host}" if host else "", why, DIRECT_SECONDS),
        )
