"""Builds tried again: whole, or those steps alone that need it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from coordinator.domain.builds.chosen_steps import ended_badly, named, with_dependants
from coordinator.domain.builds.keyed_requests import KeyedRequest
from coordinator.domain.errors import Conflict, Invalid, NotFound
from coordinator.domain.lifecycle import FINISHED_BUILD, StepState
from coordinator.domain.model import Build, Project, Step
from coordinator.domain.people.permissions import Principal, Right
from coordinator.domain.steps.reuse_scopes import SENT_FROM_A_LAPTOP
from coordinator.domain.upkeep.keeps import gone_words
from coordinator.services.audit import Deed
from coordinator.services.builds.builds import Builds
from coordinator.services.builds.conditions import answers
from coordinator.services.builds.drafts import Draft, Origin, draft, hold, redraft
from coordinator.services.builds.input_lists import input_lists
from coordinator.services.builds.saved_drafts import save_asked_for
from coordinator.storage.builds import builds as stored
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.projects import projects as stored_projects
from pipelines_schema import Workflow, steps_for


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """Which steps of a build run once more, with all that depend on them: neither, the whole
    build."""

    failed: bool = False
    """Those that failed or were cancelled."""
    steps: Sequence[str] = ()
    """Those of these names."""

    def __bool__(self) -> bool:
        return self.failed or bool(self.steps)


@dataclass(frozen=True, slots=True)
class Retries:
    builds: Builds

    async def retry(
        self,
        principal: Principal,
        project: Project,
        build_id: str,
        again: Again | None = None,
        *,
        keyed: KeyedRequest | None = None,
    ) -> Build:
        """A new build of the same commit and steps, linked to the old one.

        What doesn't run `again` is taken over with its outputs and its log. Raises NotFound;
        Invalid for a step that the build doesn't have; Conflict where nothing could run.
        """
        principal.require(Right.BUILD)
        old, steps = await self.builds.get(principal, project.id, build_id)
        _check_may_be_tried_again(old, steps)
        names = None if not again else _chosen(steps, again)
        wanted = redraft(old, steps, project, self.builds.core.now(), again=names)
        if again:
            _check_runs(wanted, again.steps)
        if not steps:
            wanted = await self._read_again(old, project) or wanted
        if old.of_fork and Right.MANAGE not in principal.rights:
            wanted = hold(wanted)
        return await self._save(principal, project, replace(wanted, keyed=keyed), names)

    async def _save(
        self,
        principal: Principal,
        project: Project,
        wanted: Draft,
        names: Collection[str] | None,
    ) -> Build:
        core = self.builds.core
        wanted = replace(wanted, origin=wanted.origin.by(principal))
        details = {"of": wanted.origin.retry_of}
        if names is not None:
            details["steps"] = ", ".join(sorted(names))

        async def save(connection: AsyncConnection) -> Build:
            old = await stored.find_build(connection, wanted.origin.retry_of or "")
            if old is None:
                raise NotFound("build not found")  # deleted meanwhile, and its results with it
            if names is not None and (old.artifacts_gone_at or old.logs_gone_at):
                raise Conflict(
                    "its logs or artifacts were deleted, as the limits of retention say: retry the "
                    "whole build"
                )
            if names is not None:
                _check_whole(await stored.steps_of_build(connection, old.id), names)
            build = await save_asked_for(core, connection, project, wanted)
            await Deed(core, principal, build).record(connection, "build.retried", **details)
            return build

        dispatch = self.builds.dispatch
        return await core.database.write(save, committed=lambda _: dispatch.wake())

    async def _read_again(self, old: Build, project: Project) -> Draft | None:
        """A build that failed before it had steps, of its workflow as it reads; None where that
        has mistakes. What was missing then, such as a secret, may be there now."""
        core, workflow_id = self.builds.core, old.workflow_id or ""
        record = await core.database.read(
            lambda connection: stored_projects.find_workflow(connection, project.id, workflow_id)
        )
        if record is None:
            return None
        origin = Origin.of_retry(old)
        try:
            if record.definition is not None:
                workflow = Workflow.from_json(record.definition)
            else:
                workflow = await self.builds.read_workflow(project, record.path or "", origin)
            workflow = steps_for(workflow, old.module.step if old.module else None)
        except (Invalid, KeyError):
            return None
        return draft(
            workflow,
            project,
            origin,
            record.id,
            core.now(),
            answers=await answers(core, project, workflow, origin),
            inputs=await input_lists(core, project, workflow, origin),
        )


def _check_whole(steps: Sequence[Step], again: Collection[str]) -> None:
    """Raises Conflict where outputs of a step that would be taken over are gone."""
    for step in steps:
        if step.name not in again and step.gone_outputs:
            gone = gone_words(step.gone_outputs[0])
            raise Conflict(f"of step {step.name}, {gone}: retry it as well, or the whole build")


def _check_may_be_tried_again(old: Build, steps: Sequence[Step]) -> None:
    """Raises Conflict."""
    if old.state not in FINISHED_BUILD:
        raise Conflict("this build has not finished yet: cancel it or wait")
    if any(step.definition.program for step in steps):
        raise Conflict("this build is a deployment: deploy it again by POST /api/deploy")
    if old.event == SENT_FROM_A_LAPTOP:
        raise Conflict("this build was run on a laptop: push its commit, or run it there again")
    if not steps and not old.problems:
        raise Conflict("this build never had steps: push or redeliver to try again")


def _chosen(steps: Sequence[Step], again: Again) -> frozenset[str]:
    """Names of all that runs. Raises Invalid, Conflict."""
    chosen = {step.name for step in named(steps, again.steps)}
    if again.failed:
        chosen |= ended_badly(steps)
    if not chosen:
        raise Conflict("no step of this build failed or was cancelled: retry the whole build")
    return with_dependants(steps, chosen)


def _check_runs(wanted: Draft, chosen: Collection[str]) -> None:
    """A step that somebody chose must not be skipped at once. Raises Conflict."""
    for step in wanted.steps:
        if step.name in chosen and step.state is StepState.SKIPPED:
            raise Conflict(f"step `{step.name}` would be skipped ({step.reason}): {_REMEDY}")


_REMEDY = "retry the step that kept it from running, and it runs too"
