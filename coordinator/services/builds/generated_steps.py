"""Steps that a step generates: read before the transaction that ends it, added by that.

Nothing of this is a state: a coordinator that dies in between has a step that still runs, and is
told of its end once more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from coordinator.domain.builds.generations import generation_of
from coordinator.domain.builds.quotas import too_many_steps
from coordinator.domain.lifecycle import FINISHED_STEP
from coordinator.domain.model import Artifact, Attempt, Build, Project, Step
from coordinator.domain.steps.step_words import label_fault, labelled, privilege_fault
from coordinator.ports import WorkflowFile
from coordinator.services.builds.conditions import answers
from coordinator.services.builds.drafted_steps import drafted
from coordinator.services.builds.drafts import Origin
from coordinator.services.builds.input_lists import input_lists
from coordinator.services.builds.whole_build import in_its_group, told_of
from coordinator.services.core import Core
from coordinator.services.images.own_images import image_problems
from coordinator.services.parsing import parsed_generated
from coordinator.services.projects.secrets import wanting_secrets
from coordinator.services.steps import advance, told
from coordinator.services.steps.generating import Generated, ToBeRead
from coordinator.storage.builds import builds as stored
from coordinator.storage.builds import quotas as stored_quotas
from coordinator.storage.builds.added_steps import add_steps
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.outputs.artifacts import stored_names
from coordinator.storage.projects import projects as stored_projects
from coordinator.storage.steps.step_inputs import keep_lists
from pipelines_schema import Generator, OlderStep, Problem, Workflow
from pipelines_schema.limits import MAX_FILE_BYTES

MAX_TOLD = 20
"""Problems of one file in a step's message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What there is when a generator has ended."""

    build: Build
    project: Project
    steps: Sequence[Step]
    workflow_path: str | None
    artifact: Artifact | None


@dataclass(frozen=True, slots=True)
class GeneratedSteps:
    core: Core

    async def read(self, step: Step, attempt: Attempt) -> Generated:
        file = step.written.generates or ""

        async def look(connection: AsyncConnection) -> _Found:
            return await _find(connection, step, attempt, file)

        found = await self.core.database.read(look)
        if found.artifact is None:
            return Generated(fault=f"the script left no file `{file}`, which it `generates`")
        if found.artifact.size > MAX_FILE_BYTES:
            return Generated(
                fault=f"{file}: the file has {found.artifact.size:,} bytes, more than "
                f"{MAX_FILE_BYTES // 1024} KiB: generate fewer steps, or shorter ones"
            )
        content = await self.core.blobs.get_small(step.account_id, found.artifact.sha256)
        parsed = await parsed_generated(
            self.core.readings,
            step.account_id,
            WorkflowFile(path=file, content=content),
            _generator(step, found),
        )
        if parsed.workflow is None:
            return Generated(fault=_told(parsed.problems))
        return await self._drafted(parsed.workflow, step, found)

    async def _drafted(self, workflow: Workflow, step: Step, found: _Found) -> Generated:
        build, project = found.build, found.project
        origin = Origin.of_retry(build)
        # What `changed(…)` compares with are builds of the workflow's own file.
        asking = replace(workflow, file=found.workflow_path)
        lists = await input_lists(self.core, project, workflow, origin)
        steps, problems = drafted(
            workflow,
            project,
            build.id,
            self.core.now(),
            await answers(self.core, project, asking, origin),
            first=1 + max(one.position for one in found.steps),
            input_files={patterns: one.digest for patterns, one in lists.items()},
        )
        if problems:
            return Generated(fault=_told(problems))
        return Generated(
            project=project,
            steps=[_generated_by(one, step) for one in steps],
            input_lists={one.digest: one.packed for one in lists.values()},
            beside=frozenset(one.id for one in found.steps),
        )

    async def add(
        self,
        connection: AsyncConnection,
        step: Step,
        attempt: Attempt,
        generated: Generated | None,
    ) -> str | None:
        if generated is None:
            raise ToBeRead(step, attempt)
        project = generated.project
        if generated.fault is not None or project is None:
            return generated.fault
        older = await stored.steps_of_build(connection, step.build_id)
        if {one.id for one in older} != generated.beside:
            raise ToBeRead(step, attempt)
        build = await stored.find_build(connection, step.build_id)
        if build is None or not generated.steps:
            return None
        added = [labelled(one, build) for one in generated.steps]
        fault = await self._refusal(connection, project, build, step, added)
        if fault is not None:
            return fault
        grouped = [in_its_group(one, build, project) for one in added]
        queued = [advance.queued(self.core, one) for one in grouped]
        await add_steps(connection, step, older, queued)
        await told.tell_steps(self.core, connection, build, queued)
        if generated.input_lists:
            await keep_lists(connection, project.id, generated.input_lists, self.core.now())
        return None

    async def _refusal(
        self,
        connection: AsyncConnection,
        project: Project,
        build: Build,
        step: Step,
        added: Sequence[Step],
    ) -> str | None:
        """What a new build would be refused, or fail for."""
        quotas = self.core.settings.quotas
        usage = await stored_quotas.usage_of(
            connection, project.account_id, project.id, quotas.waiting_steps
        )
        waiting = sum(one.state not in FINISHED_STEP for one in added)
        full = too_many_steps(usage, quotas.waiting_steps, waiting)
        if full is not None:
            return full
        if not build.of_fork:  # which gets none, and is not told which there are
            for one in await wanting_secrets(connection, project, added, build):
                return f"step `{one.step}` needs the secret {one.name}, {one.why}"
        file = step.written.generates
        refused = [
            *await image_problems(self.core, connection, project, added, build, file),
            *(Problem(message=fault, file=file) for fault in map(label_fault, added) if fault),
            *(
                Problem(message=fault, file=file)
                for one in added
                if (fault := _privilege_fault(one, step, build, project))
            ),
        ]
        return _told(refused) if refused else None


def _privilege_fault(step: Step, generator: Step, build: Build, project: Project) -> str | None:
    """Generated steps have their generator's trust."""
    if step.written.wants_privileges and not generator.written.wants_privileges:
        return (
            f"step `{step.name}` is `privileged`, and step `{generator.name}`, which generates it, "
            "is not: write `privileged: true` there, too"
        )
    return privilege_fault(step, build, project)


async def _find(connection: AsyncConnection, step: Step, attempt: Attempt, file: str) -> _Found:
    """Raises LookupError."""
    build = await stored.find_build(connection, step.build_id)
    project = await stored_projects.find_project(connection, step.project_id)
    if build is None or project is None:
        raise LookupError(f"no build {step.build_id}")
    workflow = await stored_projects.find_workflow(
        connection, step.project_id, build.workflow_id or ""
    )
    artifacts = await stored_names(connection, step.id, attempt.epoch, [file])
    return _Found(
        build=build,
        project=project,
        steps=await stored.steps_of_build(connection, step.build_id),
        workflow_path=None if workflow is None else workflow.path,
        artifact=artifacts.get(file),
    )


def _generator(step: Step, found: _Found) -> Generator:
    return Generator(
        name=step.name,
        generation=1 + generation_of(found.steps, step),
        secrets=step.written.secrets,
        env=step.definition.workflow_env,
        params=found.build.params or {},
        steps=[
            OlderStep(
                name=one.name, depends_on=tuple(one.depends_on), matrix_of=one.written.matrix_of
            )
            for one in found.steps
        ],
    )


def _generated_by(step: Step, generator: Step) -> Step:
    step = told_of(step, told=generator.definition.told)
    return replace(step, definition=replace(step.definition, generated_by=generator.name))


def _told(problems: Sequence[Problem]) -> str:
    lines = [str(problem) for problem in problems[:MAX_TOLD]]
    left = len(problems) - len(lines)
    return "\n".join([*lines, *([f"and {left} more"] if left else [])])
