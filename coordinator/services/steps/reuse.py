"""Nothing twice: a step whose turn has come succeeds at once where an equal one has succeeded.

It is decided in the transaction in which it would become ready, for the whole build in the order of
its dependencies, so that a chain of such steps ends in one go. Where no agent has resolved the
step's image within a day, it is handed out, and decided when that agent tells the digest
(`settled`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from coordinator.domain.builds.roll_up import counts_as_success
from coordinator.domain.images.pushed_images import pushed_before
from coordinator.domain.lifecycle import FINISHED_STEP, BuildState, StepState
from coordinator.domain.model import TAKEN_OVER_EPOCH, Attempt, Build, Project, Step
from coordinator.domain.people.permissions import Principal, PrincipalKind
from coordinator.domain.projects.sealed import SecretShown
from coordinator.domain.steps.output_values import HandedOn, values_before
from coordinator.domain.steps.reuse import (
    Circumstances,
    files_digest,
    is_settled,
    key_of,
    never_kept,
    never_reused,
    parts_of,
    with_images,
)
from coordinator.domain.steps.reuse_scopes import readable_from, scope_of
from coordinator.services.core import Core
from coordinator.services.images.own_images import AccountImages, account_images
from coordinator.services.projects.secrets import secrets_given
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.images.build_images import digests_found_since, digests_of_build
from coordinator.storage.outputs import artifacts as stored_artifacts
from coordinator.storage.outputs.output_values import mark_build, values_of_build
from coordinator.storage.projects import projects as stored_projects
from coordinator.storage.steps import step_inputs as stored
from coordinator.storage.steps.caches import default_branch
from coordinator.storage.steps.step_inputs import Result, StepInputs, Taken
from pipelines_schema import DEFAULT_RUN_ON
from pipelines_schema.dag import topological_order
from pipelines_schema.image_references import whole_tag
from pipelines_schema.step_outputs import OutputsError, output_variables

DIGEST_COUNTS_FOR = timedelta(hours=24)
"""What an agent found under a tag."""
NOT_IN_AN_IMAGE = (
    "it is not known which image it ran in: on the host engine, in an image without a digest (as "
    "one that was imported into an engine), or by a worker that is no agent"
)


@dataclass(slots=True, kw_only=True)
class Looked:
    """What came of it; to be saved once the steps themselves are stored."""

    steps: dict[str, Step] = field(default_factory=dict)
    """By id: those that have succeeded with what an earlier one left."""
    rows: list[StepInputs] = field(default_factory=list)
    taken: list[Taken] = field(default_factory=list)
    has_outputs: bool = False

    async def save(self, core: Core, connection: AsyncConnection, build: Build) -> None:
        await stored.insert_inputs(connection, self.rows)
        await stored.take_results(connection, build.project_id, self.taken, core.now())
        if self.has_outputs and not build.has_outputs:
            await mark_build(connection, build.id)


def may_reuse(steps: Sequence[Step]) -> bool:
    """Whether one that has not ended has `inputs`: else there is nothing to look for."""
    return any(
        step.written.inputs is not None and step.state not in FINISHED_STEP for step in steps
    )


async def look(
    core: Core,
    connection: AsyncConnection,
    build: Build,
    steps: Sequence[Step],
    *,
    at: frozenset[StepState] = frozenset(),
    alone: str | None = None,
) -> Looked:
    """`steps` are all of the build's. Looked at are those whose turn has come, or does by this, and
    those in one of the states `at`; `alone` is the id of the only one."""
    looked = Looked()
    if build.in_line or build.state is BuildState.HELD or not may_reuse(steps):
        return looked
    by_name = {step.name: step for step in steps}
    known: _Known | None = None
    for name in topological_order(steps):
        step = by_name[name]
        if alone not in (None, step.id) or not _has_its_turn(step, by_name, at):
            continue
        if never_kept(step) is not None:
            continue
        known = known or await _known(core, connection, build, steps)
        inputs = await known.inputs_of(connection, step, by_name)
        if inputs is None:
            continue
        result = None
        if inputs.key is not None and inputs.never is None:
            scopes = readable_from(inputs.scope)
            result = await stored.find_result(connection, build.project_id, inputs.key, scopes)
        if result is not None:
            step, inputs = _taken(core, step, inputs, result, TAKEN_OVER_EPOCH)
            by_name[name] = looked.steps[step.id] = step
            known.has_taken(name, result)
            looked.taken.append(Taken(step_id=step.id, epoch=step.epoch, source=result.inputs))
            looked.has_outputs |= bool(result.outputs)
        looked.rows.append(inputs)
    return looked


def _has_its_turn(step: Step, by_name: Mapping[str, Step], at: frozenset[StepState]) -> bool:
    written = step.written
    if written.inputs is None:
        return False
    if step.state in at:
        return True
    if step.state is not StepState.BLOCKED or written.resolved_late:
        return False
    if written.run_on != DEFAULT_RUN_ON or step.definition.condition_false:
        return False
    return all(counts_as_success(by_name[name]) for name in step.depends_on)


def _taken(
    core: Core, step: Step, inputs: StepInputs, result: Result, epoch: int
) -> tuple[Step, StepInputs]:
    now = core.now()
    reused = replace(
        step,
        state=StepState.SUCCEEDED,
        epoch=epoch,
        attempt=1,
        exit_code=0,
        reason=f"cached from {result.words}",
        ready_at=None,
        queue_until=None,
        started_at=now,
        finished_at=now,
    )
    return reused, replace(
        inputs,
        taken_from=result.ran_in,
        laptop_of=result.inputs.laptop_of,
        epoch=epoch,
        left_files=result.inputs.left_files,
        never=None,
    )


def values_of(reused: Step) -> dict[str, Any]:
    """What is stored of a step that was ready or blocked, besides its state."""
    return {
        "epoch": reused.epoch,
        "attempt": reused.attempt,
        "exit_code": reused.exit_code,
        "reason": reused.reason,
        "started_at": reused.started_at,
        "ready_at": None,
        "queue_until": None,
        "holder": None,
        "lease_seconds": None,
    }


@dataclass(slots=True, kw_only=True)
class _Known:
    """All that counts of a build's steps, read once."""

    build: Build
    scope: str
    images: AccountImages
    digests: dict[str, str]
    """Whole tag → digest."""
    steps: Sequence[Step]
    secrets: Mapping[str, str]
    left: dict[str, str]
    """Name of a step that has ended → digest of its files."""
    handed_on: dict[str, HandedOn]

    def has_taken(self, name: str, result: Result) -> None:
        self.left[name] = result.inputs.left_files or ""
        before = self.handed_on[name]
        self.handed_on[name] = replace(before, values=result.outputs)

    async def inputs_of(
        self, connection: AsyncConnection, step: Step, by_name: Mapping[str, Step]
    ) -> StepInputs | None:
        """None for a step that will fail for what it is given."""
        try:
            values = output_variables(values_before(step.depends_on, self.handed_on))
        except OutputsError:
            return None
        names = () if self.build.of_fork else step.written.secrets
        circumstances = Circumstances(
            image=self._digest(step, self.images.reference_of(step, self.build)),
            services=self._services(step),
            secrets={name: self.secrets.get(name, "") for name in names},
            values=values,
            dependencies={
                name: f"{by_name[name].state.value} {self.left.get(name, '')}"
                for name in step.depends_on
            },
        )
        parts = parts_of(step, self.build, circumstances)
        return StepInputs(
            step_id=step.id,
            project_id=self.build.project_id,
            build_number=self.build.number,
            workflow=self.build.workflow_name,
            name=step.name,
            scope=self.scope,
            key=key_of(parts),
            parts=parts,
            files=step.definition.input_files,
            never=never_reused(step, self.build),
            asked=circumstances.image is None or not is_settled(circumstances.services),
        )

    def _services(self, step: Step) -> dict[str, str]:
        images = self.images.of_services(step, self.build)
        found = {name: self._digest(step, image) for name, image in images.items()}
        return {
            name: f"{_tag(image)}@{found[name]}" if found[name] else _tag(image)
            for name, image in images.items()
        }

    def _digest(self, step: Step, image: str | None) -> str | None:
        if image is None:
            return None
        _, _, written = image.partition("@")
        if written:
            return written
        tag = whole_tag(image)
        if tag is None:
            return None
        return pushed_before(step, self.steps).get(tag) or self.digests.get(tag)


async def _known(
    core: Core, connection: AsyncConnection, build: Build, steps: Sequence[Step]
) -> _Known:
    project = await _project(connection, build)
    mine = [
        step
        for step in steps
        if step.written.inputs is not None and step.state not in FINISHED_STEP
    ]
    images = await account_images(core, connection, project, mine, build)
    references = [
        one
        for step in mine
        for one in (
            images.reference_of(step, build),
            *images.of_services(step, build).values(),
        )
    ]
    tags = list(dict.fromkeys(filter(None, (whole_tag(one) for one in references if one))))
    since = core.now() - DIGEST_COUNTS_FOR
    names = sorted({name for step in mine for name in step.written.secrets})
    ended = {step.name for step in steps if step.state in FINISHED_STEP}
    needed = sorted({name for step in mine for name in step.depends_on} & ended)
    values = await values_of_build(connection, build.id) if build.has_outputs else {}
    return _Known(
        build=build,
        scope=scope_of(build, await default_branch(connection, build.project_id)),
        images=images,
        digests={
            **await digests_found_since(connection, build.account_id, tags, since),
            **await digests_of_build(connection, build.id),
        },
        steps=steps,
        secrets=await _secret_versions(connection, build, names),
        left=await _left(connection, build, needed),
        handed_on={
            step.name: values.get(step.name)
            or HandedOn(step_id=step.id, depends_on=step.depends_on, values={})
            for step in steps
        },
    )


def _tag(image: str | None) -> str:
    """Of a service's image, as agents tell what it means; a whole reference has a digest."""
    if image is None:
        return ""
    return whole_tag(image) or image.partition("@")[0]


async def _secret_versions(
    connection: AsyncConnection, build: Build, names: Sequence[str]
) -> Mapping[str, str]:
    """Name → when the value that the build may have was set last, and for whom it is."""
    found = await secrets_given(connection, build, names, build)
    return {name: _version(secret, build) for name, secret in found.values.items()}


def _version(secret: SecretShown, build: Build) -> str:
    at = secret.updated_at.isoformat(timespec="microseconds")
    whose = "" if secret.scope_id == build.project_id else " of the account"
    return f"{at}{whose} {secret.pattern}".rstrip()


async def _left(connection: AsyncConnection, build: Build, names: Sequence[str]) -> dict[str, str]:
    if not names:
        return {}
    found = await stored_artifacts.artifacts_of_steps(connection, build.id, names)
    return {name: files_digest(one.artifacts, one.entries) for name, one in found.items()}


async def _project(connection: AsyncConnection, build: Build) -> Project:
    project = await stored_projects.find_project(connection, build.project_id)
    if project is None:
        raise LookupError(f"build {build.id} has no project")
    return project


async def settled(
    core: Core, connection: AsyncConnection, build: Build, step: Step, digest: str
) -> Step | None:
    """After an agent has told which image a step that it runs would run in: the step with an
    earlier result, where there is one; its attempt's epoch is over then."""
    inputs = await stored.find_inputs(connection, step.id)
    if inputs is None or inputs.never is not None or not inputs.asked or inputs.epoch is not None:
        return None
    tags = await digests_of_build(connection, build.id)
    parts = with_images(inputs.parts, digest, tags)
    key = key_of(parts)
    if key is None or step.attempt > 1 or step.cancel_requested_by is not None:
        return None
    scopes = readable_from(inputs.scope)
    result = await stored.find_result(connection, build.project_id, key, scopes)
    if result is None:
        return None
    reused, inputs = _taken(core, step, inputs, result, step.epoch + 1)
    await stored.update_inputs(
        connection,
        step.id,
        key=key,
        parts=parts,
        epoch=inputs.epoch,
        taken_from=inputs.taken_from,
        laptop_of=inputs.laptop_of,
        left_files=inputs.left_files,
    )
    taken = Taken(step_id=step.id, epoch=reused.epoch, source=result.inputs)
    looked = Looked(taken=[taken], has_outputs=bool(result.outputs))
    await looked.save(core, connection, build)
    return reused


async def keep(
    connection: AsyncConnection,
    principal: Principal,
    step: Step,
    attempt: Attempt,
    image_digest: str | None,
) -> None:
    """After an attempt has succeeded: others may take what it left, where it is known in which
    image it ran."""
    inputs = await stored.find_inputs(connection, step.id)
    if inputs is None:
        return
    if principal.kind is not PrincipalKind.AGENT or image_digest is None:
        await stored.update_inputs(connection, step.id, never=NOT_IN_AN_IMAGE)
        return
    tags = await digests_of_build(connection, step.build_id)
    parts = with_images(inputs.parts, image_digest, tags)
    artifacts = await stored_artifacts.artifacts_of(connection, step.id, attempt.epoch)
    entries = await stored_artifacts.entries_of(connection, step.id, attempt.epoch)
    await stored.update_inputs(
        connection,
        step.id,
        key=key_of(parts),
        parts=parts,
        epoch=attempt.epoch,
        left_files=files_digest(artifacts, entries),
    )
