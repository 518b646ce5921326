"""Which image a tag means in a build: what its first step found, to the build's end."""

from __future__ import annotations

from dataclasses import dataclass

from coordinator.domain.errors import Conflict, Forbidden, Invalid, StaleEpoch
from coordinator.domain.model import Attempt, AttemptState, Step
from coordinator.domain.people.permissions import Principal
from coordinator.services.news import build_topic
from coordinator.services.steps import advance, reuse
from coordinator.services.steps.runner import Runner
from coordinator.storage.builds.builds import find_build
from coordinator.storage.builds.deletions import doom_log
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.images.build_images import count_digests, insert_digest
from coordinator.storage.steps.attempts import delete_attempt
from pipelines_schema.contract_images import SettleImageRequest, SettleImageResponse
from pipelines_schema.image_references import tag_problem, whole_tag

MAX_SETTLED_TAGS = 1000
"""Of one build, from which on no Dockerfile's are kept any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Settled:
    digest: str
    step: Step
    """As it was."""
    reused: bool


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

        async def look(connection: AsyncConnection) -> _Settled:
            step, attempt = await self.runner.attempt_in(
                connection, principal, step_id, request.epoch
            )
            if request.reference is None:
                tag = await self._own_tag(connection, step)
            else:
                tag = await self._fetched_tag(connection, step, request.reference)
            digest = await self.runner.specs.digest(connection, step, tag)
            if digest is None:
                digest = request.digest
                if request.reference is not None:
                    await _refuse_too_many(connection, step)
                now = self.runner.core.now()
                await insert_digest(connection, step.build_id, tag, digest, now)
            reused = request.reference is None and await self._reused(
                connection, step, attempt, digest
            )
            return _Settled(digest=digest, step=step, reused=reused)

        settled = await self.runner.core.database.write(look, committed=self._committed)
        if settled.reused:
            raise StaleEpoch(f"step {settled.step.name!r} has succeeded with an earlier result")
        return SettleImageResponse(digest=settled.digest)

    async def _reused(
        self, connection: AsyncConnection, step: Step, attempt: Attempt, digest: str
    ) -> bool:
        """Whether an earlier result stands for the step, now that its image is known: then the
        attempt never was, and its agent lets go of it."""
        core = self.runner.core
        if step.written.inputs is None or attempt.state is not AttemptState.RUNNING:
            return False
        build = await find_build(connection, step.build_id)
        if build is None or step.epoch != attempt.epoch:
            return False
        then = await reuse.settled(core, connection, build, step, digest)
        if then is None:
            return False
        await delete_attempt(connection, attempt)
        await doom_log(connection, step.account_id, attempt.id)
        moved = await advance.reused(core, connection, step, then)
        await advance.follow_end(core, connection, moved)
        return True

    def _committed(self, settled: _Settled) -> None:
        if settled.reused:
            self.runner.dispatch.ended(settled.step.id, settled.step.epoch)
            self.runner.core.news.publish(build_topic(settled.step.build_id))
            self.runner.dispatch.wake()

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
