"""Keeps the leases that an agent holds."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from agent.coordinator_client import CoordinatorClient
from agent.coordinator_errors import CoordinatorError, CredentialRefusedError
from agent.lease import (
    LONGEST_TICK_SECONDS,
    LeaseTable,
    boot_clock,
    renew_every_seconds,
    renewal_wait_seconds,
)
from agent.retries import keep_trying
from agent.step_run import StepRun
from pipelines_schema.contract import LEASE_SECONDS, LeaseRef, RenewRequest, RenewResponse

logger = logging.getLogger(__name__)


class Renewals:
    """`go_on` in a task of its own; `begin` when a lease is held."""

    def __init__(
        self,
        *,
        client: CoordinatorClient,
        instance: str,
        leases: LeaseTable[StepRun],
        sign_in_again: Callable[[str], Awaitable[None]],
        obey: Callable[[RenewResponse], None],
    ) -> None:
        """`obey` is told by the answer which leases are cancelled and which are lost."""
        self._client = client
        self._instance = instance
        self._leases = leases
        self._sign_in_again = sign_in_again
        self._obey = obey
        self._held = asyncio.Event()
        self._renewed_at = -float("inf")
        """When the renewal was sent that was answered last."""

    def begin(self) -> None:
        self._held.set()

    async def go_on(self) -> None:
        """Keep the leases, apart from the poll, which may starve behind a proxy."""
        while True:
            await self._held.wait()
            if not self._leases:
                self._held.clear()
                continue
            wait = renewal_wait_seconds(
                last_renewed=self._renewed_at, every=self._renew_every_seconds(), now=boot_clock()
            )
            if wait > 0:
                # No longer: meanwhile a step with a shorter lease may begin.
                await asyncio.sleep(min(wait, LONGEST_TICK_SECONDS))
                continue
            await keep_trying(
                self._renew,
                lambda error: logger.warning("leases not renewed: %s", error),
                on=CoordinatorError,
                pause=lambda seconds: asyncio.sleep(min(seconds, self._renew_every_seconds() / 2)),
            )

    async def _renew(self) -> None:
        """Renew what is held now. Raises CoordinatorError."""
        request = RenewRequest(leases=self._leases.refs(), instance=self._instance)
        sent_at = boot_clock()
        if not request.leases:
            return
        try:
            answer = await self._client.renew(request, seconds=self._renew_every_seconds())
        except CredentialRefusedError as error:
            await self._sign_in_again(error.credential)
            return
        self._renewed_at = sent_at
        self._obey(answer)
        self._prolong(request.leases, sent_at)

    def _renew_every_seconds(self) -> float:
        shortest = min((work.lease_seconds for work in self._leases), default=LEASE_SECONDS)
        return renew_every_seconds(shortest)

    def _prolong(self, leases: Sequence[LeaseRef], sent_at: float) -> None:
        """For those that were named in what was sent then: what began since has its own term."""
        for lease in leases:
            if work := self._leases.find(lease):
                work.renew(sent_at=sent_at)
