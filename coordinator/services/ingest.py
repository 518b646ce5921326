"""From moved refs to queued builds.

The refs are the truth: after each receive-pack, and at start, they are compared with the project's
`seen_refs`, and what differs is built. The builds and the new `seen_refs` are saved in one
transaction, so that a crash in between loses no push and builds none twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from coordinator.domain.deliveries import PullRequest, asks_to_skip
from coordinator.domain.lifecycle import BuildState
from coordinator.domain.model import Build, Project, WorkflowRecord, WorkflowSource
from coordinator.domain.permissions import Principal
from coordinator.ports import MAX_WORKFLOW_FILES, Commit, WorkflowFile
from coordinator.services import audit
from coordinator.services.builds import save_draft
from coordinator.services.core import Core, new_id
from coordinator.services.dispatch import Dispatch
from coordinator.services.drafts import Draft, Origin, draft, hold
from coordinator.storage import projects as stored
from pipelines_schema import (
    Parsed,
    Problem,
    parse_workflow,
    triggered_by_pull_request,
    triggered_by_push,
)

log = structlog.get_logger()

BRANCH = "refs/heads/"
SHOWN_PROBLEMS = 10
SHOWN_BUILDS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class MovedRef:
    ref: str
    old: str | None
    new: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedFile:
    path: str
    parsed: Parsed


@dataclass(frozen=True, slots=True, kw_only=True)
class PushedBranch:
    branch: str
    commit: Commit
    files: Sequence[ParsedFile]


def moved_refs(seen: Mapping[str, str], now: Mapping[str, str]) -> list[MovedRef]:
    return [
        MovedRef(ref=ref, old=seen.get(ref), new=now.get(ref))
        for ref in sorted(seen.keys() | now.keys())
        if seen.get(ref) != now.get(ref)
    ]


AlsoSave = Callable[[AsyncConnection, Sequence[Build], Sequence[str]], Awaitable[None]]


async def _save_nothing(*_: object) -> None:
    """What a push to a hosted repository saves besides its builds."""


@dataclass(slots=True)
class Ingest:
    core: Core
    dispatch: Dispatch
    _locks: dict[str, asyncio.Lock] = field(default_factory=dict)

    async def catch_up(self) -> None:
        """Build what was pushed while nobody looked; a project that can't be read is logged."""
        projects = await self.core.database.read(
            lambda connection: stored.list_projects(connection, None)
        )
        for project in projects:
            if project.repo_url is not None:
                continue  # its pushes come as deliveries, which have an inbox of their own
            try:
                await self.refs_moved(project)
            except Exception:  # a task root: the other projects are caught up all the same
                log.exception("catching up failed", project=project.id)

    async def refs_moved(self, project: Project, principal: Principal | None = None) -> list[str]:
        """Queue builds for the refs that moved; return lines for the one who pushed."""
        async with self._locks.setdefault(project.id, asyncio.Lock()):
            refs = await self.core.repositories.refs(project.id)
            seen = await self.core.database.read(
                lambda connection: stored.read_seen_refs(connection, project.id)
            )
            moved = moved_refs(seen, refs)
            if not moved:
                return []
            _, lines = await self.build_moved(project, moved, principal)
            return lines

    async def build_moved(
        self,
        project: Project,
        moved: Sequence[MovedRef],
        principal: Principal | None = None,
        also: AlsoSave = _save_nothing,
    ) -> tuple[Sequence[Build], list[str]]:
        """Queue builds for these refs, whose commits are in the project's repository.

        `also(connection, builds, lines)` runs in the same transaction. Returns the builds, and
        lines for the one who pushed.
        """
        branches, lines = await self._read_branches(project, moved)

        async def save(connection: AsyncConnection) -> list[Build]:
            builds = await self._save(connection, project, moved, branches, principal)
            await also(connection, builds, lines)
            return builds

        builds = await self.core.database.write(save, committed=lambda _: self.dispatch.wake())
        return builds, lines + self._describe(builds)

    async def build_pull_request(
        self, project: Project, pull: PullRequest, also: AlsoSave
    ) -> Sequence[Build]:
        """As `build_moved`, for a pull request's head; one from a fork is held for approval."""
        pushed = await self._read_branch(project, pull.head_branch, pull.head_sha)
        files, lines = _wanted_of_pull(pushed, pull)

        async def save(connection: AsyncConnection) -> list[Build]:
            builds = []
            if pushed is not None:
                origin = Origin.of_pull_request(pull, pushed.commit)
                for file in files:
                    wanted = await self._draft(connection, project, origin, file)
                    wanted = hold(wanted) if pull.fork else wanted
                    builds.append(await save_draft(self.core, connection, project, wanted))
            await also(connection, builds, lines)
            return builds

        return await self.core.database.write(save, committed=lambda _: self.dispatch.wake())

    async def _read_branches(
        self, project: Project, moved: Sequence[MovedRef]
    ) -> tuple[list[PushedBranch], list[str]]:
        """Each pushed branch's commit and workflows; and lines on what won't be built, and why."""
        branches: list[PushedBranch] = []
        lines: list[str] = []
        for ref in moved:
            if ref.new is None or not ref.ref.startswith(BRANCH):
                continue
            branch = ref.ref.removeprefix(BRANCH)
            pushed = await self._read_branch(project, branch, ref.new)
            if pushed is None:
                lines.append(f"{branch}: {ref.new[:10]} is not a commit, so nothing is built")
            elif asks_to_skip(pushed.commit.message):
                lines.append(f"{branch}: the commit's message says [skip ci]")
            elif not pushed.files:
                lines.append(
                    f"{branch}: no workflow at {ref.new[:10]}; add .pushrod.yml or .pushrod/ci.yml"
                )
            else:
                branches.append(pushed)
                if not any(_builds(file, branch) for file in pushed.files):
                    lines.append(f"{branch}: no workflow is triggered by a push to this branch")
        return branches, lines

    async def _read_branch(self, project: Project, branch: str, sha: str) -> PushedBranch | None:
        commit = await self.core.repositories.commit(project.id, sha)
        if commit is None:
            return None
        files = await self.core.repositories.workflow_files(project.id, commit.sha)
        parsed = await asyncio.to_thread(_parse_all, files)
        return PushedBranch(branch=branch, commit=commit, files=parsed)

    async def _save(
        self,
        connection: AsyncConnection,
        project: Project,
        moved: Sequence[MovedRef],
        branches: Sequence[PushedBranch],
        principal: Principal | None,
    ) -> list[Build]:
        builds = []
        for pushed in branches:
            for file in pushed.files:
                if _builds(file, pushed.branch):
                    origin = Origin.of_push(pushed.branch, pushed.commit)
                    wanted = await self._draft(connection, project, origin, file)
                    builds.append(await save_draft(self.core, connection, project, wanted))
        for ref in moved:
            await stored.save_seen_ref(connection, project.id, ref.ref, ref.new)
        await audit.record(
            self.core,
            connection,
            "push.received",
            principal,
            account_id=project.account_id,
            project_id=project.id,
            refs=len(moved),
            first={"ref": moved[0].ref, "old": moved[0].old, "new": moved[0].new},
            builds=[build.number for build in builds[:SHOWN_BUILDS]],
        )
        return builds

    async def _draft(
        self,
        connection: AsyncConnection,
        project: Project,
        origin: Origin,
        file: ParsedFile,
    ) -> Draft:
        workflow, now = file.parsed.workflow, self.core.now()
        name = workflow.name if workflow else file.path
        record_id = await self._workflow_record(connection, project, file.path, name)
        if workflow is not None:
            return draft(workflow, project, origin, record_id, now)
        return Draft(
            workflow_name=name,
            workflow_id=record_id,
            origin=origin,
            problems=file.parsed.problems,
        )

    async def _workflow_record(
        self, connection: AsyncConnection, project: Project, path: str, name: str
    ) -> str:
        now = self.core.now()
        record = await stored.find_workflow_by_path(connection, project.id, path)
        if record is None:
            record = WorkflowRecord(
                id=new_id(),
                project_id=project.id,
                name=name,
                source=WorkflowSource.REPOSITORY,
                path=path,
                definition=None,
                created_at=now,
                updated_at=now,
            )
            await stored.insert_workflow(connection, record)
        elif record.name != name:
            await stored.rename_workflow(connection, record.id, name, now)
        return record.id

    def _describe(self, builds: Sequence[Build]) -> list[str]:
        lines = []
        for build in builds:
            url = f"{self.core.public_url}/builds/{build.id}"
            if build.state is not BuildState.FAILED:
                lines.append(f"build #{build.number} {build.workflow_name} ({build.branch}): {url}")
                continue
            lines.append(f"build #{build.number} failed: {build.reason}: {url}")
            lines += [f"  {_problem_line(p)}" for p in build.problems[:SHOWN_PROBLEMS]]
            if len(build.problems) > SHOWN_PROBLEMS:
                lines.append(f"  and {len(build.problems) - SHOWN_PROBLEMS} more")
        return lines


def _parse_all(files: Sequence[WorkflowFile]) -> list[ParsedFile]:
    """In a thread: a hostile file of 1 MiB takes half a second."""
    return [_parse(file, position) for position, file in enumerate(files)]


def _parse(file: WorkflowFile, position: int) -> ParsedFile:
    if position < MAX_WORKFLOW_FILES:
        return ParsedFile(path=file.path, parsed=parse_workflow(file.content, file.path))
    message = (
        f"a commit may have {MAX_WORKFLOW_FILES} workflow files: this and later ones are left out"
    )
    return ParsedFile(
        path=file.path,
        parsed=Parsed(workflow=None, problems=(Problem(message=message, file=file.path),)),
    )


def _builds(file: ParsedFile, branch: str) -> bool:
    """A file with mistakes always makes a (failed) build, so that somebody sees them."""
    workflow = file.parsed.workflow
    return workflow is None or triggered_by_push(workflow, branch)


def _wanted_of_pull(
    pushed: PushedBranch | None, pull: PullRequest
) -> tuple[Sequence[ParsedFile], list[str]]:
    """The files to build, or lines on why there are none."""
    if pushed is None:
        return (), [f"{pull.head_sha[:10]} is not a commit, so nothing is built"]
    if asks_to_skip(pushed.commit.message):
        return (), ["the commit's message says [skip ci]"]
    files = [file for file in pushed.files if _builds_pull(file, pull.base_branch)]
    return files, [] if files else ["no workflow is triggered by this pull request"]


def _builds_pull(file: ParsedFile, base_branch: str) -> bool:
    workflow = file.parsed.workflow
    return workflow is None or triggered_by_pull_request(workflow, base_branch)


def _problem_line(problem: Mapping[str, object]) -> str:
    place = ":".join(str(problem[key]) for key in ("file", "line", "column") if key in problem)
    return f"{place}: {problem['message']}"
