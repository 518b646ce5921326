"""Many outputs in one call, to the coordinator and from it; links and folders come so alone."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from coordinator.domain.builds.quotas import no_bytes_left
from coordinator.domain.errors import Invalid, NotFound, TooLarge
from coordinator.domain.lifecycle import FINISHED_STEP
from coordinator.domain.model import Artifact, Attempt, OutputEntry, Step
from coordinator.domain.people.permissions import Principal
from coordinator.services.core import Core
from coordinator.services.outputs.artifacts import checked_name, find_readable, require_running
from coordinator.storage.builds.quotas import bytes_beside
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.outputs import artifacts as stored_artifacts
from pipelines_schema.contract_outputs import (
    MAX_TARGET_BYTES,
    OutputBatch,
    OutputFile,
    OutputFolder,
    OutputLink,
    WantedArtifacts,
)


@dataclass(frozen=True, slots=True)
class OutputBatches:
    core: Core

    async def store(
        self, step: Step, attempt: Attempt, batch: OutputBatch, contents: memoryview
    ) -> None:
        """All of the batch or nothing. Raises Invalid, TooLarge, StaleEpoch."""
        entries = entries_of(step.id, attempt.epoch, batch.links, batch.folders)
        check_names([*batch.files, *batch.links, *batch.folders])
        blobs = _divided(batch.files, contents)
        saved = [_artifact(step, attempt, file) for file in batch.files]
        await self._check_room(step, attempt, batch.files)
        async with self.core.blob_claims.arriving(step.account_id) as arrived:
            await self.core.blobs.put_all(step.account_id, blobs, arrived=arrived)

            async def save(connection: AsyncConnection) -> None:
                await require_running(connection, step.id, attempt.epoch)
                if saved:
                    await stored_artifacts.save_artifacts(connection, saved)
                if entries:
                    await stored_artifacts.save_entries(connection, entries)

            await self.core.database.write(save)

    async def _check_room(self, step: Step, attempt: Attempt, files: Sequence[OutputFile]) -> None:
        settings = self.core.settings
        for file in files:
            if file.size > settings.max_artifact_bytes:
                raise TooLarge(f"an artifact may have {settings.max_artifact_bytes} bytes")
        stored = await self.core.database.read(
            lambda connection: bytes_beside(
                connection, step.project_id, step.id, attempt.epoch, [file.name for file in files]
            )
        )
        if stored + sum(file.size for file in files) > settings.project_max_stored_bytes:
            raise TooLarge(no_bytes_left(stored, settings.project_max_stored_bytes))

    async def wanted(self, principal: Principal, wanted: WantedArtifacts) -> Wanted:
        """Of a step of the principal's build that has ended. Raises NotFound."""

        async def read(connection: AsyncConnection) -> Wanted:
            step = await find_readable(connection, principal, wanted.step_id)
            if step is None or step.state not in FINISHED_STEP:
                raise NotFound("step not found")
            found = await stored_artifacts.stored_names(
                connection, step.id, step.epoch, wanted.names
            )
            gone = [name for name in wanted.names if name not in found]
            if gone:
                raise NotFound(f"artifact {gone[0]!r} not found")
            artifacts = [found[name] for name in wanted.names]
            return Wanted(self.core, step.account_id, artifacts)

        return await self.core.database.read(read)

    async def entries_of(self, principal: Principal, step_id: str) -> Sequence[OutputEntry]:
        """Links and folders of the last attempt, once it has completed. Raises NotFound."""

        async def read(connection: AsyncConnection) -> Sequence[OutputEntry]:
            step = await find_readable(connection, principal, step_id)
            if step is None:
                raise NotFound("step not found")
            if step.state not in FINISHED_STEP:
                return ()
            return await stored_artifacts.entries_of(connection, step_id, step.epoch)

        return await self.core.database.read(read)


@dataclass(frozen=True, slots=True)
class Wanted:
    core: Core
    account_id: str
    artifacts: Sequence[Artifact]

    @property
    def size(self) -> int:
        return sum(artifact.size for artifact in self.artifacts)

    async def contents(self) -> AsyncIterator[bytes]:
        """One after the other."""
        for artifact in self.artifacts:
            async for piece in self._content(artifact):
                yield piece

    async def _content(self, artifact: Artifact) -> AsyncIterator[bytes]:
        blobs = self.core.blobs
        if artifact.size <= SMALL_BYTES:
            yield await blobs.get_small(self.account_id, artifact.sha256)
            return
        async for piece in blobs.get(self.account_id, artifact.sha256):
            yield piece


SMALL_BYTES = 1024 * 1024


class Named(Protocol):
    @property
    def name(self) -> str: ...


def check_names(things: Sequence[Named]) -> None:
    """Raises Invalid."""
    seen = set()
    for thing in things:
        if checked_name(thing.name) in seen:
            raise Invalid(f"there are two outputs named {thing.name!r}")
        seen.add(thing.name)


def _divided(files: Sequence[OutputFile], contents: memoryview) -> dict[str, bytes]:
    """By digest. Raises Invalid where a content is not what its line says."""
    blobs = {}
    begin = 0
    for file in files:
        content = bytes(contents[begin : begin + file.size])
        begin += file.size
        sha256 = hashlib.sha256(content).hexdigest()
        if sha256 != file.sha256:
            raise Invalid(
                f"the artifact {file.name!r} arrived with sha256 {sha256}, not {file.sha256}"
            )
        blobs[sha256] = content
    if begin != len(contents):
        raise Invalid(f"the batch has {len(contents)} bytes of content, its files {begin}")
    return blobs


def _artifact(step: Step, attempt: Attempt, file: OutputFile) -> Artifact:
    return Artifact(
        step_id=step.id,
        epoch=attempt.epoch,
        name=file.name,
        size=file.size,
        sha256=file.sha256,
        mode=file.mode,
        modified=file.modified,
    )


def entries_of(
    step_id: str, epoch: int, links: Sequence[OutputLink], folders: Sequence[OutputFolder]
) -> list[OutputEntry]:
    """Raises Invalid for what no link leads to."""
    for link in links:
        if not link.target or "\0" in link.target or len(link.target.encode()) > MAX_TARGET_BYTES:
            raise Invalid(f"the link {link.name!r} leads to what is no path")
    found: list[tuple[str, str | None, int]] = [
        *((link.name, link.target, 0o777) for link in links),
        *((folder.name, None, folder.mode) for folder in folders),
    ]
    return [
        OutputEntry(step_id=step_id, epoch=epoch, name=name, target=target, mode=mode)
        for name, target, mode in found
    ]
