"""Blobs in the object store that nothing names: of uploads whose row was never written.

A coordinator that is killed between the two leaves one, as does an upload that proves wrong once it
has come, or that is repeated with other bytes (ADR 86).
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import groupby
from operator import attrgetter

import structlog

from coordinator.object_ports import ListedBlob
from coordinator.services.builds.deletions import Deletions
from coordinator.services.core import Core
from coordinator.services.upkeep.retention import Retention
from coordinator.storage.builds.deletions import doom_blobs, named_blobs
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.people.accounts import find_account

log = structlog.get_logger()

GRACE = timedelta(days=7)
"""Since it was stored. Nothing that is under way depends on it, for `Deletions` asks who claims a
blob and looks once more what names it; it is for who goes back to a database of some days ago."""
LOOKED_UP_AT_ONCE = 500
PAUSE_SECONDS = 0.05
"""Between two looks into the database."""


@dataclass(frozen=True, slots=True)
class UnnamedBlobs:
    core: Core
    retention: Retention
    deletions: Deletions
    pause_seconds: float = PAUSE_SECONDS

    async def collect(self) -> None:
        """Doom them, once over all that is stored; the timer calls it. Nothing where retention is
        only told."""
        if not await self.retention.is_enforced():
            return
        count = size = 0
        async for page in self.core.blobs.listed(self.core.now() - GRACE):
            for account_id, blobs in groupby(sorted(page, key=_ACCOUNT), _ACCOUNT):
                for some in _slices(list(blobs)):
                    gone = await self._doom(account_id, some)
                    count, size = count + len(gone), size + sum(one.size for one in gone)
                    await asyncio.sleep(self.pause_seconds)
        if count:
            log.info("blobs that nothing names", blobs=count, bytes=size)

    async def _doom(self, account_id: str, blobs: Sequence[ListedBlob]) -> Sequence[ListedBlob]:
        named = await self.core.database.read(
            partial(_named, account_id=account_id, digests=[one.sha256 for one in blobs])
        )
        gone = [one for one in blobs if one.sha256 not in named]
        if gone:
            await self.core.database.write(
                lambda connection: doom_blobs(connection, account_id, {one.sha256 for one in gone}),
                committed=lambda _: self.deletions.wake(),
            )
            self.core.meter.deleted("unnamed", len(gone), sum(one.size for one in gone))
        return gone


async def _named(
    connection: AsyncConnection, account_id: str, digests: Sequence[str]
) -> Collection[str]:
    """All of them where the account is unknown: accounts are never deleted, so that is another
    installation's, and what it names is not known here."""
    account = await find_account(connection, account_id)
    if account is None or account.id != account_id:
        log.warning("blobs of no account that is known here stay", account=account_id)
        return digests
    return await named_blobs(connection, account_id, digests)


_ACCOUNT = attrgetter("account_id")


def _slices(blobs: Sequence[ListedBlob]) -> Sequence[Sequence[ListedBlob]]:
    starts = range(0, len(blobs), LOOKED_UP_AT_ONCE)
    return [blobs[start : start + LOOKED_UP_AT_ONCE] for start in starts]
