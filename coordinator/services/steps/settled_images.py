"""Which image a tag means in a build: what its first step found, to the build's end."""

from __future__ import annotations

from dataclasses import dataclass

from coordinator.domain.errors import Conflict, Forbidden, Invalid
from coordinator.domain.model import Step
from coordinator.domain.people.permissions import Principal
from coordinator.services.steps.runner import Runner
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.images.build_images import count_digests, insert_digest
from pipelines_schema.contract import SettleImageRequest, SettleImageResponse
from pipelines_schema.image_references import tag_problem, whole_tag

MAX_SETTLED_TAGS = 1000
"""Of one build, from which on no Dockerfile's are kept any more."""


@dataclass(frozen=True, slots=True)
class SettledImages:
    runner: Runner

    async def settle(
        self, principal: Principal, step_id: str, request: SettleImageRequest
    ) -> SettleImageResponse:
        """Which image a tag means, the step's own or one that its Dockerfile names: what is found
        first is meant to the build's end, by later attempts and on other agents, too.

        Raises StaleEpoch, Invalid, Forbidden for an image that the step may not read, Conflict
        where the build names too many.
        """

        async def look(connection: AsyncConnection) -> SettleImageResponse:
            step, _ = await self.runner.attempt_in(connection, principal, step_id, request.epoch)
            if request.reference is None:
                tag = await self._own_tag(connection, step)
            else:
                tag = await self._fetched_tag(connection, step, request.reference)
            digest = await self.runner.specs.digest(connection, step, tag)
            if digest is None:
                digest = request.digest
                if request.reference is not None:
                    await _refuse_too_many(connection, step)
                await insert_digest(connection, step.build_id, tag, digest)
            return SettleImageResponse(digest=digest)

        return await self.runner.core.database.write(look)

    async def _own_tag(self, connection: AsyncConnection, step: Step) -> str:
        tag = await self.runner.specs.tag(connection, step)
        if tag is None:
            raise Invalid(f"step {step.name!r} names no tag of an image")
        return tag

    async def _fetched_tag(self, connection: AsyncConnection, step: Step, reference: str) -> str:
        """What a Dockerfile's build fetches."""
        if step.written.build is None:
            raise Invalid(f"step {step.name!r} builds no image: leave `reference` out")
        problem = tag_problem(reference)
        if problem is not None:
            raise Invalid(f"the reference `{reference}` {problem}")
        foreign = await self.runner.specs.pull_problem(connection, step, reference)
        if foreign is not None:
            raise Forbidden(f"the image `{reference}` {foreign}")
        return whole_tag(reference) or reference


async def _refuse_too_many(connection: AsyncConnection, step: Step) -> None:
    if await count_digests(connection, step.build_id) >= MAX_SETTLED_TAGS:
        raise Conflict(f"the build's Dockerfiles name more than {MAX_SETTLED_TAGS} images")
