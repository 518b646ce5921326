"""A step whose image no single engine can build waits for parts of it, which other steps build.

Its agent has found that: it reports an attempt in which nothing was built. The transaction of the
report adds a step for each platform, for agents that run its programs, and has the step wait for
them; it is handed out again to join them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from coordinator.domain.lifecycle import StepEvent
from coordinator.domain.model import Attempt, AttemptState, Build, Project, Step
from coordinator.domain.steps.step_words import labelled
from coordinator.domain.steps.verdict import Verdict
from coordinator.object_ports import LogDigest
from coordinator.services.builds.drafted_steps import fresh, needs_of
from coordinator.services.builds.whole_build import in_its_group
from coordinator.services.core import Core
from coordinator.services.steps import advance
from coordinator.storage.builds import builds as stored
from coordinator.storage.builds.added_steps import add_parts
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.projects import projects as stored_projects
from coordinator.storage.steps import attempts as stored_attempts
from pipelines_schema.platforms import in_a_tag

IN_PARTS = "built in parts"


@dataclass(frozen=True, slots=True)
class ImageParts:
    core: Core

    async def split(
        self,
        connection: AsyncConnection,
        step: Step,
        attempt: Attempt,
        exit_code: int | None,
        log: LogDigest,
        message: str | None,
    ) -> tuple[Verdict, advance.Followed]:
        """Raises LookupError."""
        core = self.core
        build = await stored.find_build(connection, step.build_id)
        project = await stored_projects.find_project(connection, step.project_id)
        if build is None or project is None:
            raise LookupError(f"no build {step.build_id}")
        verdict = Verdict(event=StepEvent.SPLIT, attempt=AttemptState.FAILED, reason=IN_PARTS)
        await stored_attempts.end_attempt(
            connection,
            attempt,
            state=verdict.attempt,
            exit_code=exit_code,
            reason=verdict.reason,
            log_bytes=log.size,
            log_sha256=log.sha256,
            outputs=None,
            now=core.now(),
        )
        older = await stored.steps_of_build(connection, step.build_id)
        parts = _parts(core, step, older, build, project)
        waiting = {"message": message, "holder": None, "lease_seconds": None}
        whole = _joining(step, parts)
        whole = await advance.move_step(core, connection, whole, StepEvent.SPLIT, **waiting)
        await add_parts(connection, whole, older, parts)
        return verdict, await advance.settled(core, connection, step.build_id)


def _parts(
    core: Core, step: Step, older: Sequence[Step], build: Build, project: Project
) -> Sequence[Step]:
    names = {one.name for one in older}
    image = step.written.build
    if image is None:
        return []
    first, made = 1 + max(one.position for one in older), []
    for number, platform in enumerate(image.platforms):
        written = replace(
            step.written,
            name=_free_name(f"{step.name} ({in_a_tag(platform)})", names),
            build=replace(image, platforms=(platform,)),
        )
        definition = replace(
            step.definition, written=written, part_of=step.name, told=False, outputs={}
        )
        one = labelled(fresh(definition, first + number, project, build.id, core.now()), build)
        made.append(advance.queued(core, in_its_group(one, build, project)))
    return made


def _free_name(name: str, taken: set[str]) -> str:
    """One that no step of the workflow has: it may be called so by its matrix."""
    while name in taken:
        name += " part"
    return name


def _joining(step: Step, parts: Sequence[Step]) -> Step:
    """The step as one that waits for its parts."""
    names = tuple(part.name for part in parts)
    depends_on = (*step.depends_on, *names)
    definition = replace(
        step.definition,
        written=replace(step.written, depends_on=depends_on),
        parts=names,
        splits=step.definition.splits + 1,
    )
    return replace(step, depends_on=depends_on, definition=definition, needs=needs_of(definition))
