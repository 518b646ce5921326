"""Git LFS for projects hosted here: what their people push, and who may read it.

An object belongs to a project once somebody sent its bytes there, so that knowing a digest alone
opens nothing of another project.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

from coordinator.domain.errors import Invalid, NotFound, TooLarge
from coordinator.domain.model import Project
from coordinator.domain.people.permissions import Principal
from coordinator.object_ports import BlobDiffers, BlobTooLarge
from coordinator.services.audit import Deed
from coordinator.services.core import Core
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.pushes import lfs as stored
from pipelines_schema.contract_sources import LfsObject


@dataclass(frozen=True, slots=True)
class Lfs:
    core: Core

    async def known(self, project: Project, objects: Sequence[LfsObject]) -> Mapping[str, int]:
        """Of these, the ones that the project has: oid → size."""
        oids = [wanted.oid for wanted in objects]
        return await self.core.database.read(
            lambda connection: stored.known_objects(connection, project.id, oids)
        )

    async def promised(self, project: Project, objects: Sequence[LfsObject]) -> Mapping[str, int]:
        """As `known`, for one who is about to push what points to them: until then they count as
        fresh, so that none of them is taken for garbage."""
        known = await self.known(project, objects)
        if known:
            now = self.core.now()
            await self.core.database.write(
                lambda connection: stored.renew_objects(connection, project.id, known, now)
            )
        return known

    async def store(
        self,
        principal: Principal,
        project: Project,
        oid: str,
        chunks: AsyncIterator[bytes],
    ) -> None:
        """Keep an object whose bytes have that digest. Raises Invalid, TooLarge."""
        limit = self.core.settings.max_lfs_bytes
        async with self.core.blob_claims.arriving(project.account_id) as arrived:
            try:
                blob = await self.core.blobs.put(
                    project.account_id, chunks, max_bytes=limit, sha256=oid, arrived=arrived
                )
            except BlobTooLarge as error:
                raise TooLarge(f"an LFS object may have {limit} bytes (max_lfs_bytes)") from error
            except BlobDiffers as error:
                raise Invalid(f"this is not the object {oid}: {error}") from error
            await self._save(principal, project, LfsObject(oid=oid, size=blob.size))

    async def _save(self, principal: Principal, project: Project, item: LfsObject) -> None:

        async def save(connection: AsyncConnection) -> None:
            await stored.save_objects(connection, project.id, [item], self.core.now())
            await Deed(self.core, principal, project).record(
                connection, "lfs.stored", oid=item.oid, size=item.size
            )

        await self.core.database.write(save)

    async def open(self, project: Project, oid: str) -> tuple[int, AsyncIterator[bytes]]:
        """Size and bytes of an object of the project. Raises NotFound."""
        known = await self.core.database.read(
            lambda connection: stored.known_objects(connection, project.id, [oid])
        )
        if oid not in known:
            raise NotFound(f"this project has no LFS object {oid}")
        return known[oid], self.core.blobs.get(project.account_id, oid)
