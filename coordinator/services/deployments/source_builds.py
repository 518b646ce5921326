"""Images from source files: a build of one step that a person posts over the API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from coordinator.domain.errors import Conflict, NotFound
from coordinator.domain.image_builds import ImagePlan, ImageRequest, build_failure
from coordinator.domain.image_builds.records import IMAGE_STEP, ImageBuildRecord
from coordinator.domain.lifecycle import FINISHED_STEP, StepState
from coordinator.domain.model import Account, Build, Project, Step
from coordinator.domain.people.permissions import Principal, Right
from coordinator.services.audit import Deed
from coordinator.services.builds.builds import Builds
from coordinator.services.builds.drafts import Draft, Origin, draft
from coordinator.services.builds.saved_drafts import save_asked_for
from coordinator.services.core import Core
from coordinator.services.deployments.image_sources import ImageSources
from coordinator.storage.builds import builds as stored_builds
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.images import image_builds as stored
from pipelines_schema import ImageBuild, Triggers, Workflow
from pipelines_schema import Step as WorkflowStep

BUILD_SECONDS = 60 * 60
LOG_TAIL_BYTES = 128 * 1024
EVENT = "api"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageBuildView:
    record: ImageBuildRecord
    step: Step | None
    """None where the build failed before it had one; `error` says why."""
    error: str | None
    digest: str | None
    reason: str | None
    """What it waits for; None unless it waits."""


@dataclass(frozen=True, slots=True)
class SourceBuilds:
    core: Core
    builds: Builds
    sources: ImageSources

    async def start(
        self, principal: Principal, account: Account, request: ImageRequest
    ) -> ImageBuildView:
        """Queue the build of an image. Raises Invalid."""
        principal.require(Right.BUILD)
        plan = await self.sources.plan(account, request)
        project = await self.sources.project(principal, account, plan.name, request.name)
        commit = await self.sources.keep(project, plan)
        image = image_reference(self.core, account, plan)
        wanted = image_draft(self.core, project, plan.name, commit, image)

        async def save(connection: AsyncConnection) -> ImageBuildRecord:
            return await save_image_build(
                self.core, connection, principal, project, wanted, request.name, plan, image
            )

        record = await self.core.database.write(
            save, committed=lambda _: self.builds.dispatch.wake()
        )
        return self._view(record, wanted.steps[0], error=None)

    async def get(self, principal: Principal, image_build_id: str) -> ImageBuildView:
        """Raises NotFound, also for another account's."""

        async def read(
            connection: AsyncConnection,
        ) -> tuple[ImageBuildRecord | None, Build | None, Sequence[Step]]:
            record = await stored.find_image_build(connection, image_build_id)
            if record is None:
                return None, None, ()
            build = await stored_builds.find_build(connection, record.build_id)
            return record, build, await stored_builds.steps_of_build(connection, record.build_id)

        record, build, steps = await self.core.database.read(read)
        if record is None or not principal.sees(record.account_id):
            raise NotFound("build not found")
        step = _image_step(steps)
        why = (build.reason if build else None) if step is None else await self._error(step)
        return self._view(record, step, error=why)

    async def list_of(
        self, principal: Principal, limit: int, offset: int
    ) -> tuple[Sequence[ImageBuildView], int]:
        """A page, newest first, and how many there are; why one failed is told by `get`."""

        async def read(
            connection: AsyncConnection,
        ) -> tuple[Sequence[tuple[ImageBuildRecord, Sequence[Step]]], int]:
            listed, total = await stored.list_image_builds(
                connection, principal.account_id, limit, offset
            )
            steps = await stored_builds.steps_of_builds(
                connection, [one.build_id for one in listed]
            )
            return [(one, steps[one.build_id]) for one in listed], total

        listed, total = await self.core.database.read(read)
        return [self._view(one, _image_step(steps), error=None) for one, steps in listed], total

    async def cancel(self, principal: Principal, image_build_id: str) -> ImageBuildView:
        """With the deployment that began it, if one did. Raises NotFound, Conflict where the image
        is built already."""
        principal.require(Right.BUILD)
        found = await self.get(principal, image_build_id)
        if found.step is None or found.step.state in FINISHED_STEP:
            raise Conflict("this build has finished already")
        await self.builds.cancel(principal, None, found.record.build_id)
        return await self.get(principal, image_build_id)

    def _view(
        self, record: ImageBuildRecord, step: Step | None, *, error: str | None
    ) -> ImageBuildView:
        return ImageBuildView(
            record=record,
            step=step,
            error=error,
            digest=digest_of(step, record.image) if step is not None else None,
            reason=self.builds.dispatch.explain(step) if step is not None else None,
        )

    async def _error(self, step: Step) -> str | None:
        if step.state in (StepState.CANCELLED, StepState.SKIPPED):
            return step.reason
        if step.state is not StepState.FAILED:
            return None
        return await failure_of(self.core, step)


def _image_step(steps: Sequence[Step]) -> Step | None:
    return next((step for step in steps if step.name == IMAGE_STEP), None)


async def failure_of(core: Core, step: Step) -> str:
    """Why a step that builds an image failed, with the words of the tool that did."""
    said = step.message or step.reason or "failed"
    if step.reason is not None and not step.reason.startswith(("exit code", "image")):
        return said if step.message else step.reason
    size = await core.logs.size(step.attempt_id, at_least=1)
    start = max(size - LOG_TAIL_BYTES, 0)
    tail = await core.logs.read(step.attempt_id, start, LOG_TAIL_BYTES)
    return build_failure(tail.decode(errors="replace").splitlines(), said)


def image_reference(core: Core, account: Account, plan: ImagePlan) -> str:
    """Below the account's own folder: two accounts may have programs of one name."""
    return f"{core.settings.image_registry}/{account.slug}/{plan.name}:{plan.tag}"


def image_draft(core: Core, project: Project, name: str, commit: str, image: str) -> Draft:
    """A build of one step, which builds the commit's Dockerfile and pushes the image."""
    workflow = Workflow(name=name, file=None, triggers=Triggers(), steps=(image_step(image),))
    origin = Origin(event=EVENT, commit_hash=commit, commit_message=f"Sources of {image}")
    return draft(workflow, project, origin, None, core.now(), answers={})


def image_step(image: str) -> WorkflowStep:
    return WorkflowStep(
        name=IMAGE_STEP,
        image=None,
        script="",
        build=ImageBuild(tags=(image,), push=True),
        timeout_seconds=BUILD_SECONDS,
    )


def digest_of(step: Step, image: str) -> str | None:
    """What the registry has under the image's name, once it was pushed."""
    images: Sequence[Mapping[str, Any]] = getattr(step, "images", None) or ()
    return next((one["digest"] for one in images if one["reference"] == image), None)


async def save_image_build(
    core: Core,
    connection: AsyncConnection,
    principal: Principal,
    project: Project,
    wanted: Draft,
    agent_name: str,
    plan: ImagePlan,
    image: str,
) -> ImageBuildRecord:
    build = await save_asked_for(core, connection, project, wanted)
    record = ImageBuildRecord(
        id=f"build-{build.id.replace('-', '')}",
        build_id=build.id,
        account_id=build.account_id,
        agent_name=agent_name,
        image=image,
        language=plan.language.value,
        entry_point=plan.entry_point,
        framework=plan.framework,
        created_at=build.created_at,
    )
    await stored.insert_image_build(connection, record)
    await Deed(core, principal, build).record(connection, "build.created", image=image)
    return record
