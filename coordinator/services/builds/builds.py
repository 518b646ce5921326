"""Builds: made, read, cancelled, let go."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from coordinator.domain.builds.chosen_steps import named
from coordinator.domain.builds.keyed_requests import KeyedRequest
from coordinator.domain.errors import Conflict, Forbidden, Invalid, NotFound
from coordinator.domain.lifecycle import (
    FINISHED_BUILD,
    BuildEvent,
    BuildState,
    advance_build,
)
from coordinator.domain.listing import BuildListing, Scope
from coordinator.domain.model import Build, Project, Step, WorkflowRecord
from coordinator.domain.people.permissions import Principal, Right
from coordinator.domain.pushes.deliveries import HEADS, is_ref
from coordinator.domain.steps.output_values import HandedOn
from coordinator.services.audit import Deed
from coordinator.services.builds import concurrency
from coordinator.services.builds.cancels import cancel_build, cancel_steps
from coordinator.services.builds.conditions import answers
from coordinator.services.builds.drafts import Draft, Origin, draft, hold
from coordinator.services.builds.forge_source import ForgeSource
from coordinator.services.builds.input_lists import input_lists
from coordinator.services.builds.outsiders import marked, placed
from coordinator.services.builds.saved_drafts import save_asked_for
from coordinator.services.builds.workflow_files import workflow_at
from coordinator.services.core import Core
from coordinator.services.news import build_topic, wait_for
from coordinator.services.projects.archived import check_takes_builds
from coordinator.services.projects.repository_urls import (
    adopt_repository,
    own_url,
    with_named_repository,
)
from coordinator.services.steps import advance, told
from coordinator.services.steps.dispatch import Dispatch
from coordinator.storage.builds import builds as stored
from coordinator.storage.builds.build_lists import list_builds
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.outputs.output_values import values_of_build
from coordinator.storage.projects import projects as stored_projects
from pipelines_schema import Workflow, default_params, param_problems

WAITED_FOR = (BuildState.QUEUED, BuildState.RUNNING)
NOT_STARTED = {
    BuildState.CANCELLED: "this build was cancelled: retry it to build it again",
    BuildState.FAILED: "this build has failed: retry it to build it again",
    BuildState.SUCCEEDED: "this build has succeeded already",
}


@dataclass(frozen=True, slots=True)
class Builds:
    core: Core
    dispatch: Dispatch
    forge_source: ForgeSource

    async def create(
        self, principal: Principal, project: Project, workflow_id: str, origin: Origin
    ) -> Build:
        """Queue a build of a workflow. Raises NotFound, Invalid.

        One that came over the API knows of no repository: the first build's repoUrl becomes that
        of a project without any; one, or a commit, that isn't the project's makes a failed build
        that says so.
        """
        principal.require(Right.BUILD)
        record = await self.core.database.read(
            lambda connection: stored_projects.find_workflow(connection, project.id, workflow_id)
        )
        if record is None:
            raise NotFound("workflow not found")
        known, project = (
            project,
            await with_named_repository(self.core, principal, project, origin.repo_url),
        )
        by_id = origin.commit_hash is not None
        if record.definition is None and not by_id:
            origin = await self.at_a_branch(project, origin)
        try:
            if record.definition is not None:
                origin = await self._at_named_branch(project, origin)
            origin = await self.checked_origin(project, origin, by_id=by_id)
        except Invalid as error:
            if record.definition is None:
                raise
            wanted = Draft(
                workflow_name=record.name,
                workflow_id=record.id,
                origin=origin,
                reason=error.message,
            )
            return await self.save(principal, known, wanted)
        if project is not known:
            await adopt_repository(self.core, principal, project)
        return await self.make(principal, project, record, origin, held=origin.of_fork)

    async def make(
        self,
        principal: Principal,
        project: Project,
        record: WorkflowRecord,
        origin: Origin,
        *,
        held: bool = False,
        keyed: KeyedRequest | None = None,
    ) -> Build:
        """A build of a workflow at a checked origin, queued or `held`. Raises Invalid."""
        if record.definition is not None:
            workflow = Workflow.from_json(record.definition)
        else:
            workflow = await self.read_workflow(project, record.path or "", origin)
        wanted = await self.drafted(project, record.id, workflow, origin)
        return await self.save(
            principal, project, replace(hold(wanted) if held else wanted, keyed=keyed)
        )

    async def drafted(
        self, project: Project, workflow_id: str | None, workflow: Workflow, origin: Origin
    ) -> Draft:
        """For a checked origin, not yet saved. Raises Invalid where its parameters are wrong."""
        origin = _with_params(workflow, origin)
        return draft(
            workflow,
            project,
            origin,
            workflow_id,
            self.core.now(),
            answers=await answers(self.core, project, workflow, origin),
            inputs=await input_lists(self.core, project, workflow, origin),
        )

    async def save(self, principal: Principal, project: Project, wanted: Draft) -> Build:
        """The draft as a build of the principal's. Raises Conflict, TooMany."""
        wanted = replace(wanted, origin=wanted.origin.by(principal))

        async def save(connection: AsyncConnection) -> Build:
            build = await save_asked_for(self.core, connection, project, wanted)
            await Deed(self.core, principal, build).record(connection, "build.created")
            return build

        return await self.core.database.write(save, committed=lambda _: self.dispatch.wake())

    async def at_a_branch(self, project: Project, origin: Origin) -> Origin:
        """Without a commit a workflow of the repository is built at its branch's tip."""
        if project.repo_url is not None:
            return await self._at_the_forges_branch(project, origin)
        branch = origin.branch or await self.core.repositories.default_branch(project.id)
        refs = await self.core.repositories.refs(project.id)
        sha = refs.get(f"{HEADS}{branch}")
        if sha is None:
            raise Invalid(
                f"the repository has no branch {branch[:200]!r}: push it first"
                if branch
                else "the repository has no commit yet: push one first",
                details=[{"path": "branch", "message": "no such branch"}],
            )
        return replace(origin, branch=branch, commit_hash=sha, trusted_ref=f"{HEADS}{branch}")

    async def _at_named_branch(self, project: Project, origin: Origin) -> Origin:
        """For a workflow of the API, which may do without source: where neither a branch nor a
        repository is named, and where nothing was pushed yet, there is none."""
        if origin.commit_hash is not None or not (origin.branch or origin.repo_url):
            return origin
        if await self.is_empty(project):
            return origin
        return await self.at_a_branch(project, origin)

    async def is_empty(self, project: Project) -> bool:
        """Whether nothing was pushed yet; a forge's repository is taken to have something."""
        if project.repo_url is not None:
            return False
        return not await self.core.repositories.refs(project.id)

    async def _at_the_forges_branch(self, project: Project, origin: Origin) -> Origin:
        """What the branch is now, whether a webhook told of it or not."""
        branch = origin.branch or await self.forge_source.default_branch(project)
        if not is_ref(f"{HEADS}{branch}"):
            raise Invalid(
                f"{branch[:200]!r} is no branch's name: name the branch or commitHash to build",
                details=[{"path": "branch", "message": "not a branch's name"}],
            )
        tip = await self.forge_source.tip(project, branch)
        return replace(origin, branch=branch, commit_hash=tip, trusted_ref=f"{HEADS}{branch}")

    async def checked_origin(self, project: Project, origin: Origin, *, by_id: bool) -> Origin:
        """A build's commit must be in the project's repository; its details come from there.

        `by_id`: somebody named it, rather than its branch, so it may be a fork's.
        """
        own = own_url(self.core, project)
        if origin.repo_url not in (None, own):
            raise Invalid(
                f"repoUrl must be the project's own, {own}: leave it out",
                details=[{"path": "repoUrl", "message": f"not {own}"}],
            )
        if origin.commit_hash is None:
            return origin
        commit = await self.core.repositories.commit(project.id, origin.commit_hash)
        if commit is None and project.repo_url is not None:
            commit = await self.forge_source.commit(project, origin.commit_hash)
        if commit is None:
            raise Invalid(
                f"the repository has no commit {origin.commit_hash[:64]!r}: push it first",
                details=[{"path": "commitHash", "message": "no such commit"}],
            )
        origin = replace(
            origin,
            commit_hash=commit.sha,
            commit_message=origin.commit_message or commit.message,
            commit_author=origin.commit_author or commit.author,
        )
        if not by_id:
            return origin
        origin = await marked(self.core, self.forge_source, project, origin)
        return await placed(self.core, self.forge_source, project, origin)

    async def read_workflow(self, project: Project, path: str, origin: Origin) -> Workflow:
        """The file at the origin's commit. Raises Invalid."""
        if origin.commit_hash is None:
            raise Invalid(
                f"this workflow lives in the repository as {path}: name the commitHash to build",
                details=[{"path": "commitHash", "message": "missing"}],
            )
        return await workflow_at(
            self.core, project, path, origin.commit_hash, of_fork=origin.of_fork
        )

    async def list_of(
        self, principal: Principal, project: Project | None, listing: BuildListing
    ) -> tuple[Sequence[Build], int]:
        """The page, and how many builds its list has; of all projects where None is given.

        The principal is known to see the project. Raises Invalid.
        """
        scope = (
            Scope(account_id=project.account_id, project_id=project.id)
            if project
            else Scope(account_id=principal.account_id)
        )
        return await self.core.database.read(
            lambda connection: list_builds(connection, scope, listing, self.core.list_marks.known)
        )

    async def get(
        self, principal: Principal, project_id: str | None, build_id: str
    ) -> tuple[Build, Sequence[Step]]:
        """Raises NotFound, also for another account's build."""

        async def read(connection: AsyncConnection) -> tuple[Build | None, Sequence[Step]]:
            build = await stored.find_build(connection, build_id)
            return build, await stored.steps_of_build(connection, build_id) if build else ()

        build, steps = await self.core.database.read(read)
        if build is None or not principal.sees(build.account_id):
            raise NotFound("build not found")
        if project_id is not None and build.project_id != project_id:
            raise NotFound("build not found")
        return build, steps

    async def outputs(self, build: Build) -> Mapping[str, HandedOn]:
        """What its steps handed on, by their names."""
        if not build.has_outputs:
            return {}
        return await self.core.database.read(
            lambda connection: values_of_build(connection, build.id)
        )

    async def wait(
        self, principal: Principal, project_id: str | None, build_id: str, seen: int, seconds: float
    ) -> tuple[Build, Sequence[Step]]:
        """As `get`, held until the build's version is not `seen` or the time is over."""
        until = time.monotonic() + seconds
        while True:
            with self.core.news.listen(build_topic(build_id)) as moved:
                build, steps = await self.get(principal, project_id, build_id)
                left = until - time.monotonic()
                if build.version != seen or left <= 0 or self.core.news.closing:
                    return build, steps
                await wait_for(moved, left)

    async def wait_for_end(self, principal: Principal, build: Build, seconds: float) -> Build:
        """The build as it is when it has finished, or when the time is over."""
        until = time.monotonic() + seconds
        while build.state not in FINISHED_BUILD and (left := until - time.monotonic()) > 0:
            build, _ = await self.wait(principal, None, build.id, build.version, left)
            if self.core.news.closing:
                break
        return build

    async def cancel(self, principal: Principal, project_id: str | None, build_id: str) -> Build:
        """Steps not handed out end at once; a running one when its agent has ended it, or its
        lease ends. Those that are for after a cancel run then, until they end or the build is
        cancelled again. Raises Conflict when the build has finished."""
        principal.require(Right.BUILD)
        await self.get(principal, project_id, build_id)

        async def cancel(connection: AsyncConnection) -> Build:
            build = await stored.find_build(connection, build_id)
            if build is None or build.state in FINISHED_BUILD:
                raise Conflict("this build has finished already")
            again = build.reason is not None
            await cancel_build(self.core, connection, build_id, by=principal.name, again=again)
            await Deed(self.core, principal, build).record(connection, "build.cancelled")
            return await stored.find_build(connection, build_id) or build

        return await self.core.database.write(cancel)

    async def cancel_steps(
        self, principal: Principal, project_id: str | None, build_id: str, names: Sequence[str]
    ) -> Build:
        """Only those steps; what depends on them is skipped, or cleans up, and the others go on.

        Raises Invalid for a step that the build doesn't have, Conflict for one that has ended.
        """
        principal.require(Right.BUILD)
        await self.get(principal, project_id, build_id)

        async def cancel(connection: AsyncConnection) -> Build:
            wanted = named(await stored.steps_of_build(connection, build_id), names)
            await cancel_steps(self.core, connection, build_id, wanted, by=principal.name)
            build = await stored.find_build(connection, build_id)
            if build is None:
                raise NotFound("build not found")
            deed = Deed(self.core, principal, build)
            await deed.record(connection, "build.steps_cancelled", steps=", ".join(names))
            return build

        return await self.core.database.write(cancel)

    async def approve(self, principal: Principal, project_id: str | None, build_id: str) -> Build:
        """Let a held build go. Raises IllegalTransition for one that is not held."""
        principal.require(Right.MANAGE)
        return await self._let_go(principal, project_id, build_id, "approved")

    async def start(self, principal: Principal, project_id: str | None, build_id: str) -> Build:
        """As `approve`, by whoever may build: but not what outsiders wrote. Raises Forbidden."""
        principal.require(Right.BUILD)
        return await self._let_go(principal, project_id, build_id, "started")

    async def _let_go(
        self, principal: Principal, project_id: str | None, build_id: str, how: str
    ) -> Build:
        await self.get(principal, project_id, build_id)

        async def let_go(connection: AsyncConnection) -> Build:
            build = await stored.find_build(connection, build_id)
            if build is None:
                raise NotFound("build not found")
            check_takes_builds(await stored_projects.find_project(connection, build.project_id))
            if build.of_fork and Right.MANAGE not in principal.rights:
                raise Forbidden(
                    "this build's commit is of a fork, on no branch of the project: "
                    "a maintainer starts it"
                )
            if how == "started" and build.retry_of and build.state in WAITED_FOR:
                return build  # a retry starts by itself: its client may not know
            if how == "started" and build.state is not BuildState.HELD:
                raise Conflict(NOT_STARTED.get(build.state, "this build was started already"))
            state = advance_build(build.state, BuildEvent.START)
            joined = await concurrency.joined(self.core, connection, replace(build, state=state))
            await stored.update_build(
                connection,
                build_id,
                now=self.core.now(),
                state=state.value,
                in_line=joined.in_line,
            )
            steps = await stored.steps_of_build(connection, build_id) if joined.tells else ()
            await told.tell_new(self.core, connection, joined, steps)
            await advance.settle_build(self.core, connection, build_id)
            await Deed(self.core, principal, build).record(connection, f"build.{how}")
            return await stored.find_build(connection, build_id) or build

        def committed(_: Build) -> None:
            self.core.news.publish(build_topic(build_id))
            self.dispatch.wake()

        return await self.core.database.write(let_go, committed=committed)


def _with_params(workflow: Workflow, origin: Origin) -> Origin:
    """Defaults for what is not given. Raises Invalid, naming every wrong parameter."""
    given, params = origin.params or {}, workflow.triggers.params
    problems = param_problems(params, given)
    if problems:
        raise Invalid(
            "the parameters are not those of the workflow",
            details=[
                {"path": f"params.{name}", "message": message} for name, message in problems.items()
            ],
        )
    return replace(origin, params={**default_params(params), **given} if params else None)
