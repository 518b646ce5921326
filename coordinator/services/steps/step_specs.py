"""All that an agent needs to run one attempt of a step, read in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from coordinator.domain.images.pushed_images import pushed_before
from coordinator.domain.model import Build, Project, Step
from coordinator.domain.steps.image_parts import parts_built
from coordinator.domain.steps.output_values import values_before
from coordinator.domain.steps.service_words import service_spec
from coordinator.domain.steps.step_words import artifact_url, build_words, step_env, step_variables
from coordinator.domain.steps.verdict import may_run_again_when_lost
from coordinator.services.core import Core
from coordinator.services.images.image_builds import build_spec
from coordinator.services.images.own_images import (
    AccountImages,
    account_images,
    empty_image,
    named_tag,
    step_problems,
    wire_of,
)
from coordinator.services.projects.registry_logins import opened
from coordinator.services.projects.secrets import open_secrets, secrets_given
from coordinator.services.steps import caches
from coordinator.storage.builds import builds as stored
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.images.build_images import digests_of_build, find_digest
from coordinator.storage.outputs import artifacts as stored_artifacts
from coordinator.storage.outputs.output_values import values_of_build
from coordinator.storage.projects import projects as stored_projects
from coordinator.storage.steps.spec_facts import SpecFacts, spec_facts
from pipelines_schema import Network, substituted
from pipelines_schema.contract import CompletionReason, HealthCheck, ServiceSpec, StepSpec
from pipelines_schema.contract_images import ImageBuildSpec, RegistryLogin
from pipelines_schema.contract_outputs import ArtifactRef, DependencySpec, OutputFolder, OutputLink
from pipelines_schema.contract_sources import GitSpec, SourceSpec
from pipelines_schema.image_references import registry_of, whole_tag
from pipelines_schema.spans import attempt_traceparent
from pipelines_schema.step_outputs import OutputsError, output_variables


@dataclass(frozen=True, slots=True)
class StepSpecs:
    core: Core

    async def read(
        self, connection: AsyncConnection, step: Step, build: Build | None = None
    ) -> StepSpec:
        """`build` is the step's, where its row was read already."""
        build = build or await stored.find_build(connection, step.build_id)
        if build is None:
            raise LookupError(f"step {step.id} has no build")
        written, base = step.written, self.core.public_url
        facts = await spec_facts(connection, step, named_tag(step, build) or "")
        project = facts.project
        known = build_words(build)
        images = await account_images(self.core, connection, project, [step], build)
        image = images.reference_of(step, build)
        # Builds made by an earlier release, and slugs that mean something else by now.
        refused = next((text for text, _ in step_problems(images, step, build)), None)
        refused = refused or empty_image(step, build)
        outputs, unfit = await self._outputs(connection, step, build)
        refused = refused or unfit
        # Outsiders' code gets none, whoever approved it.
        names = [] if build.of_fork else list(written.secrets)
        not_theirs = (await secrets_given(connection, project, names, build)).refused
        names = [name for name in names if name not in not_theirs]
        # Rules are looked at anew: somebody may have set another since the build was made.
        refused = refused or next(
            (f"the step needs the secret {name}, {why}" for name, why in not_theirs.items()), None
        )
        image_build = await self._image_build(connection, step, build)
        source = None
        own_command = step.definition.own_command
        of_services = images.of_services(step, build).values()
        hosts_of = [one for one in (image, *of_services) if one is not None]
        if build.commit_hash is not None and not own_command and not step.definition.parts:
            url = f"{base}/git/{project.account_slug}/{project.slug}.git"
            source = SourceSpec(
                url=url,
                commit=build.commit_hash,
                git=self._git(step, build),
                inputs=None if written.inputs is None else list(written.inputs),
            )
        return StepSpec(
            step_id=step.id,
            epoch=step.epoch,
            traceparent=self._traceparent(step),
            attempt=step.attempt,
            name=step.name,
            build_id=build.id,
            build_number=build.number,
            project_id=project.id,
            isolation=f"{project.id}/fork" if build.of_fork else project.id,
            # An agent that knows no `refused` fails for want of an image, or pushes nothing.
            image=None if refused else image,
            image_digest=await self._digest(connection, step, image, facts),
            settles_images=True,
            own_registries=wire_of(images.rule),
            refused=refused,
            refused_for=_refused_for(unfit, not_theirs),
            script=substituted(written.script, known),
            own_command=own_command,
            health=_health(step),
            build=_unpushed(image_build, refused) if image_build and refused else image_build,
            registries=self._registries(step, build, facts, hosts_of),
            env={
                **step_env(step, build),
                **outputs,
                **step_variables(step, build, f"{project.account_slug}/{project.slug}", base),
            },
            network="none" if written.network is Network.NONE else None,
            user=written.user,
            workdir=written.workdir,
            shell=written.shell,
            services=[] if refused else await self._services(connection, step, build, images),
            privileged=written.privileged,
            memory_bytes=written.resources.memory_bytes,
            cpus=written.resources.cpus,
            secret_names=names,
            secrets=dict(await open_secrets(self.core, connection, project, names, build)),
            cache_dirs=await caches.cache_dirs(self.core.keys, connection, build, step),
            clean=build.clean,
            output_paths=list(written.output_paths),
            timeout_seconds=written.timeout_seconds,
            grace_seconds=written.grace_seconds,
            lease_seconds=step.lease_seconds or self.core.settings.lease_seconds,
            ends_with_lease=may_run_again_when_lost(step.definition),
            source=source,
            dependencies=(
                [] if step.definition.parts else await self._dependencies(connection, step)
            ),
            batches=True,
            token=self.core.keys.step_token(step.id, step.epoch),
        )

    def _traceparent(self, step: Step) -> str | None:
        if self.core.emit is None:
            return None
        return attempt_traceparent(step.build_id, step.attempt_id)

    def _git(self, step: Step, build: Build) -> GitSpec | None:
        wanted, states = step.written.git, self.core.ref_states
        if wanted is None or step.written.build is not None:
            return None
        has_branches = wanted.depth is None
        return GitSpec(
            depth=wanted.depth,
            tags=wanted.tags,
            apart=build.of_fork,
            state=(states.of_all if has_branches else states.of_tags)(step.project_id),
        )

    def _registries(
        self, step: Step, build: Build, facts: SpecFacts, images: Sequence[str]
    ) -> list[RegistryLogin]:
        """A script's step needs those for its images alone; a Dockerfile may name any image."""
        if build.of_fork or (not images and step.written.build is None):
            return []
        logins = opened(self.core, facts.project, facts.logins)
        hosts = {registry_of(image) for image in images}
        return [login for login in logins if not hosts or login.host in hosts]

    async def _services(
        self, connection: AsyncConnection, step: Step, build: Build, images: AccountImages
    ) -> list[ServiceSpec]:
        references = images.of_services(step, build)
        return [
            service_spec(
                service,
                step,
                build,
                image=references[service.name] or "",
                digest=await self.digest(connection, step, references[service.name]),
            )
            for service in step.written.services
        ]

    async def tag(self, connection: AsyncConnection, step: Step) -> str | None:
        """The whole tag that a script's step names as its image; None where it names a digest."""
        build = await stored.find_build(connection, step.build_id)
        if build is None:
            raise LookupError(f"step {step.id} has no build")
        project = await self._project(connection, step)
        images = await account_images(self.core, connection, project, [step], build)
        image = images.reference_of(step, build)
        return None if image is None else whole_tag(image)

    async def digest(
        self, connection: AsyncConnection, step: Step, image: str | None
    ) -> str | None:
        """What the image's tag means to the step: what one before it pushed, else what the first
        step of the build that asked was told."""
        tag = None if image is None else whole_tag(image)
        if tag is None:
            return None
        settled, any_pushed = await find_digest(connection, step.build_id, tag)
        return await self._meant(connection, step, tag, settled, any_pushed=any_pushed)

    async def _digest(
        self, connection: AsyncConnection, step: Step, image: str | None, facts: SpecFacts
    ) -> str | None:
        """The same, from what was read for the image that the step names, unless that is a slug."""
        tag = None if image is None else whole_tag(image)
        if tag is None or tag != facts.reference:
            return await self.digest(connection, step, image)
        any_pushed = facts.any_pushed
        return await self._meant(connection, step, tag, facts.digest, any_pushed=any_pushed)

    @staticmethod
    async def _meant(
        connection: AsyncConnection, step: Step, tag: str, settled: str | None, *, any_pushed: bool
    ) -> str | None:
        if any_pushed:
            steps = await stored.steps_of_build(connection, step.build_id)
            return pushed_before(step, steps).get(tag) or settled
        return settled

    async def _image_build(
        self, connection: AsyncConnection, step: Step, build: Build
    ) -> ImageBuildSpec | None:
        if step.written.build is None:
            return None
        scope = await caches.namespace(self.core.keys, connection, build, step)
        image_build = build_spec(self.core, step, build, scope)
        steps = await stored.steps_of_build(connection, step.build_id)
        parts = dict(parts_built(step, steps)) if step.definition.parts else None
        # All that is known of what tags mean to the step.
        settled = {
            **await digests_of_build(connection, step.build_id),
            **pushed_before(step, steps),
        }
        return image_build and image_build.model_copy(
            update={"settled_images": settled, "parts": parts}
        )

    async def pull_problem(
        self, connection: AsyncConnection, step: Step, reference: str
    ) -> str | None:
        """Why the step may not read the image, as in `the image … {problem}`."""
        project = await self._project(connection, step)
        images = await account_images(self.core, connection, project)
        return images.rule.pull_problem(reference)

    @staticmethod
    async def _outputs(
        connection: AsyncConnection, step: Step, build: Build
    ) -> tuple[Mapping[str, str], str | None]:
        """The variables of what those before it handed on, and why it can't be given them."""
        if not build.has_outputs or not step.depends_on:
            return {}, None
        all_of_build = await values_of_build(connection, build.id)
        try:
            return output_variables(values_before(step.depends_on, all_of_build)), None
        except OutputsError as error:
            return {}, str(error)

    @staticmethod
    async def _project(connection: AsyncConnection, step: Step) -> Project:
        project = await stored_projects.find_project(connection, step.project_id)
        if project is None:
            raise LookupError(f"step {step.id} has no project")
        return project

    async def _dependencies(self, connection: AsyncConnection, step: Step) -> list[DependencySpec]:
        if not step.depends_on:
            return []
        found = await stored_artifacts.artifacts_of_steps(
            connection, step.build_id, step.depends_on
        )
        return [
            DependencySpec(
                step_id=found[name].step_id,
                name=name,
                artifacts=[
                    ArtifactRef(
                        name=artifact.name,
                        size=artifact.size,
                        sha256=artifact.sha256,
                        mode=artifact.mode,
                        modified=artifact.modified,
                        url=artifact_url(self.core.public_url, artifact.step_id, artifact.name),
                    )
                    for artifact in found[name].artifacts
                ],
                links=[
                    OutputLink(name=entry.name, target=entry.target)
                    for entry in found[name].entries
                    if entry.target is not None
                ],
                folders=[
                    OutputFolder(name=entry.name, mode=entry.mode)
                    for entry in found[name].entries
                    if entry.target is None
                ],
            )
            for name in step.depends_on
        ]


def _health(step: Step) -> HealthCheck | None:
    health = step.definition.health
    if health is None:
        return None
    return HealthCheck(
        port=health.port, path=health.path, start_seconds=float(health.start_seconds)
    )


def _refused_for(unfit: str | None, not_theirs: Mapping[str, str]) -> CompletionReason:
    if unfit:
        return CompletionReason.OUTPUTS
    return CompletionReason.SECRETS if not_theirs else CompletionReason.IMAGE


def _unpushed(build: ImageBuildSpec, why: str) -> ImageBuildSpec:
    return build.model_copy(update={"tags": [], "push": False, "not_pushed_because": why})
