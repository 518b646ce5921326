"""LFS objects that were fetched for a step's commit: which are here, and how they are kept."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass

from coordinator.domain.errors import Unfetchable
from coordinator.domain.model import Build, Project
from coordinator.domain.pushes.repo_url import parse_url
from coordinator.domain.pushes.submodules import HostedPlace, Place
from coordinator.object_ports import BlobDiffers, BlobTooLarge
from coordinator.ports import RemoteFailed
from coordinator.services.core import Core
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.pushes import lfs as stored_lfs
from pipelines_schema.contract_sources import LfsObject


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSource:
    """The commit that a step is of."""

    project: Project
    build: Build
    commit: str
    trusted: bool
    """False for a fork's pull request: what it declares gets no credential of the project."""


@dataclass(frozen=True, slots=True)
class FetchedObjects:
    core: Core

    async def missing(
        self, source: StepSource, place: Place, objects: Sequence[LfsObject]
    ) -> tuple[LfsObject, ...]:
        """Those that did not come from there yet, for one as trusted. Raises Unfetchable."""
        wanted = {item.oid: item for item in objects}
        known = await self.core.database.read(
            lambda connection: self._known(connection, source, place, wanted)
        )
        for item in objects:
            if known.get(item.oid, item.size) != item.size:
                raise Unfetchable(f"LFS files ({place.text}): {differs(item, known[item.oid])}")
        return tuple(item for oid, item in wanted.items() if oid not in known)

    async def _known(
        self, connection: AsyncConnection, source: StepSource, place: Place, oids: Collection[str]
    ) -> dict[str, int]:
        project = source.project
        if place == own_place(project) and isinstance(place, HostedPlace):
            return await stored_lfs.known_objects(connection, project.id, oids)
        origin = _origin(source, place)
        return await stored_lfs.fetched_objects(connection, project.id, origin, oids)

    async def keep(
        self, source: StepSource, place: Place, item: LfsObject, chunks: AsyncIterator[bytes]
    ) -> None:
        account_id = source.project.account_id
        limit = self.core.settings.max_lfs_bytes
        if item.size > limit:
            message = f"{item.oid[:12]} has {item.size} bytes, more than max_lfs_bytes ({limit})"
            raise RemoteFailed(message, permanent=True)
        async with self.core.blob_claims.arriving(account_id) as arrived:
            try:
                blob = await self.core.blobs.put(
                    account_id,
                    chunks,
                    max_bytes=item.size,
                    sha256=item.oid,
                    arrived=arrived,
                )
            except BlobTooLarge as error:
                raise RemoteFailed(differs(item, None), permanent=True) from error
            except BlobDiffers as error:
                message = f"what came for {item.oid[:12]} is not it ({error})"
                raise RemoteFailed(message, permanent=True) from error
            if blob.size != item.size:
                raise RemoteFailed(differs(item, blob.size), permanent=True)
            await self.save(source, place, [item])

    async def save(self, source: StepSource, place: Place, objects: Sequence[LfsObject]) -> None:
        origin, now = _origin(source, place), self.core.now()
        await self.core.database.write(
            lambda connection: stored_lfs.save_fetched(
                connection, source.project.id, origin, objects, now
            )
        )


def own_place(project: Project) -> Place:
    if project.repo_url is not None:
        return parse_url(project.repo_url)
    return HostedPlace(account=project.account_slug, project=project.slug)


def _origin(source: StepSource, place: Place) -> str:
    """Apart for forks: what they ask for comes without the credential."""
    who = "trusted" if source.trusted else "fork"
    return hashlib.sha256(f"{who} {place.text}".encode()).hexdigest()


def differs(item: LfsObject, size: int | None) -> str:
    """In words, for a size that was seen, or None where more came than the pointer says."""
    seen = "the object has more" if size is None else f"the object has {size}"
    return f"the pointer of {item.oid[:12]} says {item.size} bytes, {seen}: commit the file anew"
