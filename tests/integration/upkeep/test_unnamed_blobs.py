"""Blobs that nothing names go after a week, and nothing that anything names or brings."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from coordinator.domain.model import Artifact, Project
from coordinator.services.builds.deletions import Deletions
from coordinator.services.core import utc_now
from coordinator.services.upkeep.retention import Retention
from coordinator.services.upkeep.unnamed_blobs import UnnamedBlobs
from coordinator.storage.builds.deletions import count_doomed, named_blobs
from coordinator.storage.outputs.artifacts import save_artifacts
from coordinator.storage.pushes.lfs import save_objects
from pipelines_schema.contract_sources import LfsObject
from tests.integration.coordinator_fixture import eventually
from tests.integration.core_fixture import START, TestedCore, open_core, step_of
from tests.integration.statements import collected
from tests.integration.upkeep.many_builds import operator


class Shop:
    """A project, what is in its account's part of the store, and the collector."""

    def __init__(self, tested: TestedCore, project: Project) -> None:
        self.tested, self.core, self.project = tested, tested.core, project
        deletions = Deletions(tested.core)
        self.unnamed = UnnamedBlobs(tested.core, Retention(tested.core), deletions, 0)

    async def put(self, word: str, account: str = "acme") -> str:
        """As an upload does whose row is not written yet, or never."""

        async def chunks() -> AsyncIterator[bytes]:
            yield word.encode()

        return (await self.core.blobs.put(account, chunks(), max_bytes=100)).sha256

    async def name(self, *words: str) -> None:
        """Files of a build."""
        build = await self.tested.new_build(self.project, step_of("make"))
        [made] = await self.tested.steps(build)
        files = [
            Artifact(
                step_id=made.id,
                epoch=1,
                name=word,
                size=len(word),
                sha256=hashlib.sha256(word.encode()).hexdigest(),
                mode=0o644,
            )
            for word in words
        ]
        await self.core.database.write(lambda connection: save_artifacts(connection, files))

    async def name_for_lfs(self, word: str, sha256: str) -> None:
        objects = [LfsObject(oid=sha256, size=len(word))]
        now = self.core.now()
        await self.core.database.write(
            lambda connection: save_objects(connection, self.project.id, objects, now)
        )

    async def collect(self, *, days: float) -> None:
        """As so long from now, with the deletions that follow, until none is left."""
        later = utc_now() + timedelta(days=days) - START
        self.tested.clock.seconds = later.total_seconds()
        deleting = asyncio.create_task(self.unnamed.deletions.run())
        try:
            await self.unnamed.collect()
            await eventually(self._nothing_is_doomed)
        finally:
            deleting.cancel()
            await asyncio.gather(deleting, return_exceptions=True)

    async def _nothing_is_doomed(self) -> bool:
        return await self.core.database.read(count_doomed) == 0

    async def has(self, sha256: str, account: str = "acme") -> bool:
        return await self.core.blobs.exists(account, sha256)


@pytest.fixture
async def shop(each_storage: str, tmp_path: Path) -> AsyncIterator[Shop]:
    async with open_core(tmp_path) as tested:
        yield Shop(tested, await tested.new_project())


async def test_a_blob_whose_row_was_never_written_goes_after_a_week(shop: Shop) -> None:
    lost = await shop.put("lost")
    await shop.collect(days=6.9)
    assert await shop.has(lost)
    await shop.collect(days=7.1)
    assert not await shop.has(lost)


async def test_what_a_row_of_its_account_names_stays(shop: Shop) -> None:
    file, lfs = await shop.put("file"), await shop.put("lfs")
    await shop.tested.new_project("bazaar", "other")
    others = [await shop.put(word, "other") for word in ("file", "lfs")]
    await shop.name("file")
    await shop.name("file")
    await shop.name_for_lfs("lfs", lfs)
    await shop.collect(days=400)
    assert await shop.has(file)
    assert await shop.has(lfs)
    assert [await shop.has(one, "other") for one in others] == [False, False]


async def test_what_is_of_an_account_that_is_unknown_here_stays(shop: Shop) -> None:
    strange = await shop.put("lost", "unknown")
    await shop.collect(days=400)
    assert await shop.has(strange, "unknown")


async def test_what_an_upload_brings_once_more_stays(shop: Shop) -> None:
    async with shop.core.blob_claims.arriving("acme") as arrived:
        lost = await shop.put("lost")
        await arrived(lost)
        collecting = asyncio.create_task(shop.collect(days=8))
        async with asyncio.timeout(60):
            while not await shop.core.database.read(count_doomed):
                await asyncio.sleep(0.01)
        await shop.name("lost")
    # What waited for the claim looks again once it is told, or a minute later.
    shop.unnamed.deletions.wake()
    await collecting
    assert await shop.has(lost)


async def test_nothing_goes_while_retention_only_tells(shop: Shop) -> None:
    lost = await shop.put("lost")
    await shop.unnamed.retention.set_rules(operator(), None, {}, enforced=False)
    await shop.collect(days=8)
    assert await shop.has(lost)
    await shop.unnamed.retention.set_rules(operator(), None, {}, enforced=True)
    await shop.collect(days=8)
    assert not await shop.has(lost)


async def test_many_at_once_are_looked_up_within_two_statements(shop: Shop) -> None:
    words = [f"file {number}" for number in range(500)]
    digests = [hashlib.sha256(word.encode()).hexdigest() for word in words]
    await shop.name(*words[:200])
    await shop.name_for_lfs(words[200], digests[200])

    with collected() as sent:
        named = await shop.core.database.read(
            lambda connection: named_blobs(connection, "acme", digests)
        )
    assert named == set(digests[:201])
    assert len([text for text, _ in sent if "wanted" in text]) == 2
    other = await shop.core.database.read(
        lambda connection: named_blobs(connection, "other", digests)
    )
    assert other == set()
