"""Deployments: an image that runs on an agent until somebody stops it, or a newer one runs.

A deployment is a build whose last step lives as long as it does; the target says what that step
is. Whatever holds for steps holds for it: a lost agent's program starts again elsewhere, its output
is the step's log, and to stop it is to cancel.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from typing import Any

from coordinator.domain.errors import Conflict, Invalid, NotFound
from coordinator.domain.image_builds import ImagePlan, ImageRequest
from coordinator.domain.image_builds.deployment_status import deployment_status
from coordinator.domain.image_builds.records import (
    IMAGE_STEP,
    PROGRAM_STEP,
    Deployment,
    DeploymentStatus,
)
from coordinator.domain.image_builds.targets import Deployable, DeployTarget, LabelledAgents
from coordinator.domain.lifecycle import FINISHED_BUILD, StepState
from coordinator.domain.model import Account, Build, Project, Step
from coordinator.domain.people.permissions import Principal, Right
from coordinator.domain.step_definition import Health
from coordinator.services.audit import Deed
from coordinator.services.builds.builds import Builds
from coordinator.services.builds.cancels import cancel_build
from coordinator.services.builds.drafts import Draft, Origin, draft
from coordinator.services.builds.saved_drafts import save_asked_for
from coordinator.services.core import Core
from coordinator.services.deployments.image_sources import ImageSources
from coordinator.services.deployments.source_builds import (
    EVENT,
    failure_of,
    image_reference,
    image_step,
    save_image_build,
)
from coordinator.services.images.own_images import account_images
from coordinator.services.projects.secrets import names_for
from coordinator.services.steps.runner import Runner
from coordinator.storage.builds import builds as stored_builds
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.database import isolate
from coordinator.storage.images import image_builds as stored
from pipelines_schema import Triggers, Workflow
from pipelines_schema.contract import Capability

TARGETS = "pushrod.deploy_targets"
"""The entry point group of targets that other distributions bring."""
LOSSES_FORGIVEN = 1_000_000
"""A program that runs for months outlives many agents."""
LLM_CONFIGS = "LLM_CONFIGS"


ASKED = "its health check has not answered yet"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentRequest:
    agent_name: str
    sources: ImageRequest | None
    image: str | None
    """One of the two."""
    llm_configs: Sequence[Mapping[str, Any]]
    health: Health | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentView:
    deployment: Deployment
    status: DeploymentStatus
    error: str | None
    reason: str | None
    """What it waits for; None unless it waits."""
    program: Step | None


@dataclass(frozen=True, slots=True)
class Deployments:
    core: Core
    builds: Builds
    sources: ImageSources
    target: DeployTarget

    async def start(
        self, principal: Principal, account: Account, request: DeploymentRequest
    ) -> DeploymentView:
        """Queue what builds and runs it. Raises Invalid."""
        principal.require(Right.BUILD)
        await self._require_own(account, request.image)
        plan = await self.sources.plan(account, request.sources) if request.sources else None
        name = plan.name if plan else self.sources.name(request.agent_name, field="agent_name")
        project = await self.sources.project(principal, account, name, request.agent_name)
        commit = await self.sources.keep(project, plan) if plan else None
        image = image_reference(self.core, account, plan) if plan else request.image or ""

        async def save(connection: AsyncConnection) -> tuple[Deployment, Draft]:
            origin = Origin(
                event=EVENT, commit_hash=commit, commit_message=f"Deployment of {image}"
            )
            # Of no branch: what is for some alone is not for what somebody posts.
            secrets = await names_for(connection, project, origin)
            wanted = self._draft(project, name, origin, image, request, secrets)
            deployment = await self._save(
                connection, principal, project, wanted, request, plan, image
            )
            return deployment, wanted

        deployment, wanted = await self.core.database.write(
            save, committed=lambda _: self.builds.dispatch.wake()
        )
        return await self._view(deployment, None, wanted.steps)

    async def _require_own(self, account: Account, image: str | None) -> None:
        if image is None:
            return
        images = await self.core.database.read(
            lambda connection: account_images(self.core, connection, account)
        )
        problem = images.rule.pull_problem(image)
        if problem is not None:
            raise Invalid(
                "the image is not this account's",
                details=[{"path": "image", "message": f"the image `{image}` {problem}"}],
            )

    def _draft(
        self,
        project: Project,
        name: str,
        origin: Origin,
        image: str,
        request: DeploymentRequest,
        secrets: Sequence[str],
    ) -> Draft:
        building = (image_step(image),) if origin.commit_hash else ()
        configs = json.dumps(list(request.llm_configs), ensure_ascii=False)
        program = self.target.program(
            Deployable(
                step_name=PROGRAM_STEP,
                name=name,
                image=image,
                depends_on=[step.name for step in building],
                env={LLM_CONFIGS: configs} if request.llm_configs else {},
                secrets=secrets,
            )
        )
        workflow = Workflow(
            name=f"deploy {name}", file=None, triggers=Triggers(), steps=(*building, program)
        )
        wanted = draft(workflow, project, origin, None, self.core.now(), answers={})
        if request.health is not None and program.script:
            message = "the deploy target runs a script of its own, whose health nobody can ask"
            raise Invalid(message, details=[{"path": "health_check", "message": message}])
        return replace(wanted, steps=[_as_program(step, request.health) for step in wanted.steps])

    async def _save(
        self,
        connection: AsyncConnection,
        principal: Principal,
        project: Project,
        wanted: Draft,
        request: DeploymentRequest,
        plan: ImagePlan | None,
        image: str,
    ) -> Deployment:
        record = None
        if plan is not None:
            record = await save_image_build(
                self.core, connection, principal, project, wanted, request.agent_name, plan, image
            )
        else:
            await save_asked_for(self.core, connection, project, wanted)
        deployment = Deployment(
            id=f"deploy-{wanted.id.replace('-', '')}",
            build_id=wanted.id,
            image_build_id=record.id if record else None,
            account_id=project.account_id,
            agent_name=request.agent_name,
            image=image,
            llm_configs=list(request.llm_configs),
            replaced_by=None,
            created_at=self.core.now(),
        )
        await stored.insert_deployment(connection, deployment)
        await Deed(self.core, principal, project).record(
            connection, "deployment.created", deployment=deployment.id, image=image
        )
        return deployment

    async def get(self, principal: Principal, deployment_id: str) -> DeploymentView:
        """Raises NotFound, also for another account's."""

        async def read(
            connection: AsyncConnection,
        ) -> tuple[Deployment | None, Build | None, Sequence[Step]]:
            deployment = await stored.find_deployment(connection, deployment_id)
            if deployment is None:
                return None, None, ()
            build = await stored_builds.find_build(connection, deployment.build_id)
            steps = await stored_builds.steps_of_build(connection, deployment.build_id)
            return deployment, build, steps

        deployment, build, steps = await self.core.database.read(read)
        if deployment is None or not principal.sees(deployment.account_id):
            raise NotFound("deployment not found")
        return await self._view(deployment, build, steps)

    async def list_of(
        self, principal: Principal, limit: int, offset: int
    ) -> tuple[Sequence[DeploymentView], int]:
        """A page, newest first, and how many there are."""

        async def read(
            connection: AsyncConnection,
        ) -> tuple[Sequence[tuple[Deployment, Sequence[Step]]], int]:
            listed, total = await stored.list_deployments(
                connection, principal.account_id, limit, offset
            )
            steps = await stored_builds.steps_of_builds(
                connection, [one.build_id for one in listed]
            )
            return [(one, steps[one.build_id]) for one in listed], total

        # Why one failed may take reading its log: that is for the one that is asked for.
        listed, total = await self.core.database.read(read)
        return [self._shown(*one) for one in listed], total

    async def stop(self, principal: Principal, deployment_id: str) -> DeploymentView:
        """Raises NotFound, Conflict where it has ended."""
        principal.require(Right.BUILD)
        found = await self.get(principal, deployment_id)
        deployment = found.deployment
        build, _ = await self.builds.get(principal, None, deployment.build_id)
        if build.state in FINISHED_BUILD:
            raise Conflict(f"this deployment has ended already: it is {found.status.value}")
        await self.builds.cancel(principal, None, deployment.build_id)
        return await self.get(principal, deployment_id)

    async def _view(
        self, deployment: Deployment, build: Build | None, steps: Sequence[Step]
    ) -> DeploymentView:
        view = self._shown(deployment, steps)
        if view.status is not DeploymentStatus.FAILED:
            return view
        image = next((step for step in steps if step.name == IMAGE_STEP), None)
        return replace(view, error=await self._error(build, image, view.program))

    def _shown(self, deployment: Deployment, steps: Sequence[Step]) -> DeploymentView:
        """Without its error. While its image is not built, what waits is that."""
        by_name = {step.name: step for step in steps}
        image, program = by_name.get(IMAGE_STEP), by_name.get(PROGRAM_STEP)
        waiting = image if program and program.state is StepState.BLOCKED else program
        asked = program is not None and _is_asked(deployment, program)
        reason = self.builds.dispatch.explain(waiting) if waiting else None
        return DeploymentView(
            deployment=deployment,
            status=deployment_status(
                image.state if image else None,
                program.state if program else None,
                is_asked=asked,
            ),
            error=None,
            reason=ASKED if asked else reason,
            program=program,
        )

    async def _error(
        self, build: Build | None, image: Step | None, program: Step | None
    ) -> str | None:
        if image is not None and image.state is StepState.FAILED:
            return await failure_of(self.core, image)
        if program is not None and program.state is StepState.FAILED:
            return program.message or program.reason
        return build.reason if build else None


def _as_program(step: Step, health: Health | None) -> Step:
    """What no workflow can say: through any number of agents, the image's own command."""
    if step.name != PROGRAM_STEP:
        return step
    own = not step.written.script
    return replace(
        step,
        definition=replace(
            step.definition, program=True, own_command=own, health=health, max_lost=LOSSES_FORGIVEN
        ),
        needs=[
            *([Capability.OWN_COMMANDS.value] if own else []),
            *([Capability.HEALTH_CHECKS.value] if health else []),
        ],
    )


def _is_asked(deployment: Deployment, program: Step) -> bool:
    return (
        program.definition.health is not None
        and program.state is StepState.RUNNING
        and deployment.healthy_epoch != program.epoch
    )


def load_target(name: str) -> DeployTarget:
    """`agents`, or the entry point of that name. Raises LookupError, which says what there is."""
    if name == "agents":
        return LabelledAgents()
    known = entry_points(group=TARGETS)
    if name not in known.names:
        names = ", ".join(sorted({"agents", *known.names}))
        raise LookupError(f"there is no deploy target {name!r}: known are {names}")
    target: DeployTarget = known[name].load()()
    return target


async def retire_older(core: Core, connection: AsyncConnection, step: Step) -> None:
    """A deployment's program has begun: older ones of its name end. One that is asked for its
    health takes their place once it is well.

    Part of the transaction in which it begins, so that no crash leaves two.
    """
    if step.definition.program and step.definition.health is None:
        isolate(connection)
        await _retire_older(core, connection, step)


async def mark_healthy(runner: Runner, principal: Principal, step_id: str, epoch: int) -> None:
    """The program has answered its health check: it takes the older ones' place.

    Raises NotFound, StaleEpoch, Conflict for an attempt that has ended, or is no such program.
    """

    async def mark(connection: AsyncConnection) -> str:
        step, attempt = await runner.attempt_in(connection, principal, step_id, epoch)
        if step.definition.health is None:
            raise Conflict("this step has no health check")
        if step.state is not StepState.RUNNING or step.epoch != attempt.epoch:
            raise Conflict("this attempt has ended", stale=True)
        await stored.set_healthy(connection, step.build_id, attempt.epoch)
        await _retire_older(runner.core, connection, step)
        return step.build_id

    await runner.core.database.write(mark)


async def _retire_older(core: Core, connection: AsyncConnection, step: Step) -> None:
    deployment = await stored.deployment_of_build(connection, step.build_id)
    if deployment is None:
        return
    for one in await stored.older_deployments(connection, deployment):
        await cancel_build(core, connection, one.build_id, by=deployment.id)
        await stored.replace_deployment(connection, one.id, deployment.id)
