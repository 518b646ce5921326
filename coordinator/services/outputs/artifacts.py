"""Artifacts: content-addressed, visible once their attempt has completed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from coordinator.domain.builds.quotas import no_bytes_left
from coordinator.domain.errors import Invalid, NotFound, StaleEpoch, TooLarge
from coordinator.domain.lifecycle import FINISHED_STEP
from coordinator.domain.model import Artifact, Attempt, Build, Step
from coordinator.domain.people.permissions import Principal
from coordinator.domain.results.file_choice import is_named_by
from coordinator.domain.steps.late_reports import may_be_reported_on
from coordinator.domain.upkeep.keeps import gone_words
from coordinator.object_ports import Arrived, Blob, BlobTooLarge
from coordinator.services.core import Core
from coordinator.storage.builds import builds as stored_builds
from coordinator.storage.builds import quotas as stored_quotas
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.outputs import artifacts as stored_artifacts
from coordinator.storage.steps import attempts as stored_attempts
from coordinator.storage.steps import steps as stored_steps

MAX_NAME_BYTES = 1024


def checked_name(name: str) -> str:
    """A path below the workspace in its one spelling. Raises Invalid, saying what is wrong."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError as error:
        raise Invalid(f"the artifact name {name!r} is not UTF-8") from error
    path = PurePosixPath(name)
    parts = path.parts
    if not parts or path.is_absolute() or ".." in parts or str(path) != name:
        raise Invalid(
            f"the artifact name {name!r} is not a plain path below the workspace: "
            "write it like `dist/app.whl`, without `..`, `.`, `//` or a leading `/`"
        )
    if size > MAX_NAME_BYTES:
        raise Invalid(f"an artifact's name may have {MAX_NAME_BYTES} bytes")
    if any(ord(character) < 32 or ord(character) == 127 for character in name):
        raise Invalid(f"the artifact name {name!r} has a control character")
    return name


async def require_running(connection: AsyncConnection, step_id: str, epoch: int) -> None:
    """Raises StaleEpoch where the attempt may not be reported on any more."""
    now = await stored_steps.find_step(connection, step_id)
    current = await stored_attempts.find_attempt(connection, step_id, epoch)
    if now is None or current is None or not may_be_reported_on(now, current):
        raise StaleEpoch("this attempt has ended")


async def find_readable(
    connection: AsyncConnection, principal: Principal, step_id: str
) -> Step | None:
    """The step, if the principal may read its outputs: a step may those of its build."""
    step = await stored_steps.find_step(connection, step_id)
    if step is None or not principal.sees(step.account_id):
        return None
    if principal.step_id is not None:
        own = await stored_steps.find_step(connection, principal.step_id)
        if own is None or own.build_id != step.build_id:
            return None
    return step


@dataclass(frozen=True, slots=True)
class Artifacts:
    core: Core

    async def store(
        self,
        step: Step,
        attempt: Attempt,
        name: str,
        chunks: AsyncIterator[bytes],
        *,
        mode: int,
        sha256: str | None,
        modified: int | None = None,
    ) -> Artifact:
        """Raises Invalid (name, digest), TooLarge, StaleEpoch."""
        name = checked_name(name)
        async with self.core.blob_claims.arriving(step.account_id) as arrived:
            blob = await self._receive(step, attempt, name, chunks, arrived)
            if sha256 not in (None, blob.sha256):
                raise Invalid(
                    f"the artifact {name!r} arrived with sha256 {blob.sha256}, not {sha256}"
                )
            artifact = Artifact(
                step_id=step.id,
                epoch=attempt.epoch,
                name=name,
                size=blob.size,
                sha256=blob.sha256,
                mode=mode & 0o777,
                modified=modified,
            )
            await self._save(artifact)
            return artifact

    async def _receive(
        self,
        step: Step,
        attempt: Attempt,
        name: str,
        chunks: AsyncIterator[bytes],
        arrived: Arrived,
    ) -> Blob:
        settings = self.core.settings
        stored_bytes = await self.core.database.read(
            lambda connection: stored_quotas.bytes_beside(
                connection, step.project_id, step.id, attempt.epoch, [name]
            )
        )
        room = max(settings.project_max_stored_bytes - stored_bytes, 0)
        max_bytes = min(settings.max_artifact_bytes, room)
        try:
            return await self.core.blobs.put(
                step.account_id, chunks, max_bytes=max_bytes, arrived=arrived
            )
        except BlobTooLarge as error:
            message = f"an artifact may have {max_bytes} bytes"
            if room < settings.max_artifact_bytes:
                message = no_bytes_left(stored_bytes, settings.project_max_stored_bytes)
            raise TooLarge(message) from error

    async def _save(self, artifact: Artifact) -> None:
        async def save(connection: AsyncConnection) -> None:
            await require_running(connection, artifact.step_id, artifact.epoch)
            await stored_artifacts.save_artifact(connection, artifact)

        await self.core.database.write(save)

    async def list_of(self, principal: Principal, step_id: str) -> Sequence[Artifact]:
        """Those of the last attempt, once it has completed. A step sees those of its build."""

        async def read(connection: AsyncConnection) -> Sequence[Artifact] | None:
            step = await find_readable(connection, principal, step_id)
            if step is None:
                return None
            if step.state not in FINISHED_STEP:
                return ()
            return await stored_artifacts.artifacts_of(connection, step_id, step.epoch)

        artifacts = await self.core.database.read(read)
        if artifacts is None:
            raise NotFound("step not found")
        return artifacts

    async def get(self, principal: Principal, step_id: str, name: str) -> tuple[Artifact, str]:
        """The artifact and its account, whose folder its bytes are in. Raises NotFound."""
        for artifact in await self.list_of(principal, step_id):
            if artifact.name == name:
                step = await self.core.database.read(
                    lambda connection: stored_steps.find_step(connection, step_id)
                )
                if step is not None:
                    return artifact, step.account_id
        raise NotFound(await self._why_not(step_id, name))

    async def _why_not(self, step_id: str, name: str) -> str:
        """For people: whether it was deleted, or never there."""

        async def read(connection: AsyncConnection) -> tuple[Step | None, Build | None]:
            step = await stored_steps.find_step(connection, step_id)
            if step is None:
                return None, None
            return step, await stored_builds.find_build(connection, step.build_id)

        step, build = await self.core.database.read(read)
        for gone in step.gone_outputs if step else ():
            if is_named_by(gone.path, name):
                return gone_words(gone)
        if build is not None and build.artifacts_gone_at is not None:
            return f"deleted on {build.artifacts_gone_at:%Y-%m-%d}, as the limits of retention say"
        return "artifact not found"
