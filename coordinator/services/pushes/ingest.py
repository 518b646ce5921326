"""From moved refs to queued builds.

The refs are the truth: after each receive-pack, and at start, they are compared with the project's
`seen_refs`, and what differs is built. The builds and the new `seen_refs` are saved in one
transaction, so that a crash in between loses no push and builds none twice.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import structlog

from coordinator.domain.lifecycle import BuildState
from coordinator.domain.model import Build, Project
from coordinator.domain.people.permissions import Principal
from coordinator.domain.pushes.deliveries import SKIPPED, PullRequest
from coordinator.domain.reading import Answer
from coordinator.ports import MAX_WORKFLOW_FILES, Commit
from coordinator.services.audit import Deed
from coordinator.services.builds.conditions import answers
from coordinator.services.builds.drafts import Draft, Origin, draft, hold
from coordinator.services.builds.saved_drafts import save_pushed
from coordinator.services.builds.workflow_files import known_workflow
from coordinator.services.core import Core
from coordinator.services.locks import Locks
from coordinator.services.parsing import parsed_workflow, started_by_push
from coordinator.services.pushes.begun_pushes import BegunPushes, TookProcessesDown
from coordinator.services.pushes.module_files import FoundModules, modules_after
from coordinator.services.steps.dispatch import Dispatch
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.projects import projects as stored
from coordinator.storage.pushes.begun_pushes import Push
from coordinator.storage.trouble import trouble_of
from pipelines_schema import (
    Parsed,
    Problem,
    asks_to_skip,
    triggered_by_pull_request,
    triggered_by_tag,
)

log = structlog.get_logger()

BRANCH = "refs/heads/"
TAG = "refs/tags/"
MAX_TAGS_AT_ONCE = 20
"""A push of more tags is somebody's whole history, not that many releases."""
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
    answers: Mapping[int, Answer] = field(default_factory=dict)
    """Those of the conditions, for the build that is to be made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartedRef:
    """A ref that moved, with the workflow files that it starts."""

    origin: Origin
    files: Sequence[ParsedFile]
    by_hand: Sequence[ParsedFile] = ()
    """Workflows that are only made known, so that somebody can build them."""
    line: str | None = None
    """Why nothing is built, for the one who pushed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    commit: Commit
    files: Sequence[ParsedFile]


def moved_refs(seen: Mapping[str, str], now: Mapping[str, str]) -> list[MovedRef]:
    return [
        MovedRef(ref=ref, old=seen.get(ref), new=now.get(ref))
        for ref in sorted(seen.keys() | now.keys())
        if seen.get(ref) != now.get(ref)
    ]


def _pushes(moved: Sequence[MovedRef]) -> list[Push]:
    return [(ref.ref, ref.new or "") for ref in moved]


AlsoSave = Callable[[AsyncConnection, Sequence[Build], Sequence[str]], Awaitable[None]]


BeforeSaving = Callable[[AsyncConnection], Awaitable[None]]


async def _nothing(*_: object) -> None:
    """Neither asked before a push's builds are saved, nor saved besides them."""


class _SeenMeanwhile(Exception):
    """The builds of a comparison that was cancelled had been on their way to the database."""


@dataclass(slots=True)
class Ingest:
    core: Core
    dispatch: Dispatch
    begun: BegunPushes
    _locks: Locks = field(default_factory=Locks)
    """By project."""
    _listeners: dict[str, dict[int, list[str]]] = field(default_factory=dict)
    """By project: the lines of each call that is under way."""

    async def refs_moved(self, project: Project, principal: Principal | None = None) -> list[str]:
        """Queue builds for the refs that moved; return lines for the one who pushed.

        Whoever comes first builds the refs of all; who waited meanwhile is told those lines too.
        """
        lines: list[str] = []
        listeners = self._listeners.setdefault(project.id, {})
        listeners[id(lines)] = lines
        try:
            async with self._locks.of(project.id):
                news = await self._build_all_moved(project, principal)
                for waiting in listeners.values():
                    waiting += news
        finally:
            del listeners[id(lines)]
            if not listeners:
                del self._listeners[project.id]
        return lines

    async def give_up(
        self, project: Project, principal: Principal | None, reason: str
    ) -> list[str]:
        """As `refs_moved`, each ref by itself; one that still can't be built fails with the reason.

        For pushes that our own faults have kept from having builds.
        """
        async with self._locks.of(project.id):
            lines: list[str] = []
            for ref in await self._all_moved(project):
                try:
                    lines += await self._build_seen_once(project, [ref], principal)
                except _SeenMeanwhile:
                    continue
                except Exception as error:  # a task root: the other refs are built all the same
                    if trouble_of(error) is not None:
                        raise
                    log.exception("a push is given up", project=project.id, ref=ref.ref)
                    lines += await self._save_failed(project, ref, principal, reason)
            return lines

    async def _save_failed(
        self, project: Project, ref: MovedRef, principal: Principal | None, reason: str
    ) -> list[str]:
        async def save(connection: AsyncConnection) -> list[Build]:
            builds = await self._save(connection, project, [ref], (), principal)
            if ref.new is not None:
                origin = Origin.of_ref(ref.ref, ref.new)
                wanted = Draft(workflow_name="push", origin=origin, reason=reason)
                builds.append(await save_pushed(self.core, connection, project, wanted))
            return builds

        builds = await self.core.database.write(
            save, committed=lambda _: self._saved(project, _pushes([ref]))
        )
        return self._describe(builds)

    async def _all_moved(self, project: Project) -> list[MovedRef]:
        refs = await self.core.repositories.refs(project.id)
        seen = await self.core.database.read(
            lambda connection: stored.read_seen_refs(connection, project.id)
        )
        return [step for ref in moved_refs(seen, refs) for step in await self._moves(project, ref)]

    async def _build_all_moved(self, project: Project, principal: Principal | None) -> list[str]:
        while moved := await self._all_moved(project):
            with suppress(_SeenMeanwhile):
                return await self._build_apart(project, moved, principal)
        return []

    async def _build_apart(
        self, project: Project, moved: Sequence[MovedRef], principal: Principal | None
    ) -> list[str]:
        """One by one where the reading of one of them has ended the process; else all at once.
        Raises _SeenMeanwhile."""
        lines: list[str] = []
        for stretch in await self.begun.apart(project.id, _pushes(moved)):
            try:
                lines += await self._build_seen_once(project, moved[stretch], principal)
            except TookProcessesDown as error:
                for ref in moved[stretch]:
                    lines += await self._save_failed(project, ref, principal, str(error))
        return lines

    async def _build_seen_once(
        self, project: Project, moved: Sequence[MovedRef], principal: Principal | None
    ) -> list[str]:
        """Raises _SeenMeanwhile: a write goes on when the one who asked for it is cancelled, so
        the lock alone doesn't keep two comparisons apart."""
        seen: dict[str, str | None] = {}
        for one in moved:
            seen.setdefault(one.ref, one.old)  # of several moves of a ref, from the first

        async def check(connection: AsyncConnection) -> None:
            for ref, sha in seen.items():
                if await stored.find_seen_ref(connection, project.id, ref) != sha:
                    raise _SeenMeanwhile

        _, lines = await self.build_moved(project, moved, principal, before=check)
        return lines

    async def _moves(self, project: Project, ref: MovedRef) -> list[MovedRef]:
        """Each push of a branch that moved more than once since the last look."""
        if ref.new is None or not ref.ref.startswith(BRANCH):
            return [ref]
        values = await self.core.repositories.values_of_ref(project.id, ref.ref, ref.old, ref.new)
        return [
            MovedRef(ref=ref.ref, old=old, new=new)
            for old, new in zip([ref.old, *values], values, strict=False)
        ]

    async def build_moved(
        self,
        project: Project,
        moved: Sequence[MovedRef],
        principal: Principal | None = None,
        also: AlsoSave = _nothing,
        before: BeforeSaving = _nothing,
    ) -> tuple[Sequence[Build], list[str]]:
        """Queue builds for these refs (at least one), whose commits are in the repository.

        `before(connection)` and `also(connection, builds, lines)` run in the same transaction.
        Returns the builds, and lines for the one who pushed. Raises TookProcessesDown.
        """
        await self.begun.begin(project.id, _pushes(moved))
        pushed, lines = await self._read_refs(project, moved)
        modules = await modules_after(self.core, project, {ref.ref: ref.new for ref in moved})

        async def save(connection: AsyncConnection) -> list[Build]:
            await before(connection)
            builds = await self._save(connection, project, moved, pushed, principal)
            if modules is not None:
                await modules.save(connection)
            await also(connection, builds, lines)
            return builds

        builds = await self.core.database.write(
            save, committed=lambda _: self._saved(project, _pushes(moved))
        )
        return builds, lines + self._describe(builds) + _describe_modules(modules)

    async def refresh_modules(self, project: Project) -> None:
        """What an older version recorded no modules for, or another default branch since."""
        async with self._locks.of(project.id):
            modules = await modules_after(self.core, project, {})
            if modules is not None:
                await self.core.database.write(modules.save_unless_newer)

    async def build_pull_request(
        self, project: Project, pull: PullRequest, also: AlsoSave
    ) -> Sequence[Build]:
        """As `build_moved`, for a pull request's head; one from a fork is held for approval."""
        push = (f"refs/pull/{pull.number}/head", pull.head_sha)
        await self.begun.begin(project.id, [push])
        revision = await self._revision(project, pull.head_sha)
        files, lines = _wanted_of_pull(revision, pull)
        origin = None
        if revision is not None:
            origin = Origin.of_pull_request(pull, revision.commit)
            files = await self._answered(project, origin, files)

        async def save(connection: AsyncConnection) -> list[Build]:
            builds = []
            if origin is not None:
                for file in files:
                    wanted = await self._draft(connection, project, origin, file)
                    wanted = hold(wanted) if pull.fork else wanted
                    builds.append(await save_pushed(self.core, connection, project, wanted))
            await self.begun.end(connection, project.id, [push])
            await also(connection, builds, lines)
            return builds

        return await self.core.database.write(
            save, committed=lambda _: self._saved(project, [push])
        )

    def _saved(self, project: Project, pushes: Sequence[Push]) -> None:
        self.begun.ended(project.id, pushes)
        self.dispatch.wake()

    async def _read_refs(
        self, project: Project, moved: Sequence[MovedRef]
    ) -> tuple[list[StartedRef], list[str]]:
        """What each pushed ref starts; and lines on what won't be built, and why."""
        pushed: list[StartedRef] = []
        lines: list[str] = []
        tags = [ref for ref in moved if ref.ref.startswith(TAG) and ref.new is not None]
        for ref in moved:
            if ref.new is not None and ref.ref.startswith(BRANCH):
                branch = ref.ref.removeprefix(BRANCH)
                found = await self._read_branch(project, branch, ref.old, ref.new)
                pushed.append(found) if isinstance(found, StartedRef) else lines.append(found)
        lines += [one.line for one in pushed if one.line is not None]
        if len(tags) > MAX_TAGS_AT_ONCE:
            lines.append(
                f"{len(tags)} tags at once: none of them is built; push one alone to build it"
            )
            return pushed, lines
        built = {one.origin.commit_hash for one in pushed if one.files}
        for ref in tags:
            tag = await self._read_tag(project, ref.ref.removeprefix(TAG), ref.new or "", built)
            pushed.append(tag) if isinstance(tag, StartedRef) else lines.append(tag)
        return pushed, lines

    async def _read_branch(
        self, project: Project, branch: str, old: str | None, sha: str
    ) -> StartedRef | str:
        """What a branch's push starts, or the line that says why it starts nothing."""
        revision = await self._revision(project, sha)
        if revision is None:
            return f"{branch}: {sha[:10]} is not a commit, so nothing is built"
        if asks_to_skip(revision.commit.message):
            return f"{branch}: {SKIPPED}, so nothing is built"
        if not revision.files:
            return f"{branch}: no workflow at {sha[:10]}; add .pushrod.yml or .pushrod/ci.yml"
        changed = None
        if any(_looks_at_paths(file) for file in revision.files):
            changed = await self.core.repositories.changed_paths(project.id, old, sha)
        files = await self._started_by_push(project, revision.files, branch, changed)
        origin = Origin.of_push(branch, revision.commit)
        line = f"{branch}: no workflow is triggered by a push to this branch" + (
            "" if changed is None else " that changes these files"
        )
        return StartedRef(
            origin=origin,
            files=await self._answered(project, origin, files),
            by_hand=[file for file in revision.files if _is_manual(file)],
            line=None if files else line,
        )

    async def _read_tag(
        self, project: Project, tag: str, sha: str, built: Collection[str | None]
    ) -> StartedRef | str:
        """The same for a tag; an annotated one stands for its commit."""
        revision = await self._revision(project, sha)
        if revision is None:
            return f"{tag}: {sha[:10]} is not a commit, so nothing is built"
        if asks_to_skip(revision.commit.message):
            return f"{tag}: {SKIPPED}, so nothing is built"
        files = [
            file
            for file in revision.files
            # The mistakes of a file are shown once, by the branch that brings the same commit.
            if (
                triggered_by_tag(file.parsed.workflow, tag)
                if file.parsed.workflow
                else revision.commit.sha not in built
            )
        ]
        if not files:
            return f"{tag}: no workflow is triggered by this tag"
        origin = Origin.of_tag(tag, revision.commit)
        return StartedRef(origin=origin, files=await self._answered(project, origin, files))

    async def _revision(self, project: Project, sha: str) -> Revision | None:
        commit = await self.core.repositories.commit(project.id, sha)
        if commit is None:
            return None
        files = await self.core.repositories.workflow_files(project.id, commit.sha)
        read = [
            await parsed_workflow(self.core.readings, project.account_id, file)
            if position < MAX_WORKFLOW_FILES
            else _too_many_files(file.path)
            for position, file in enumerate(files)
        ]
        return Revision(
            commit=commit,
            files=[
                ParsedFile(path=file.path, parsed=parsed)
                for file, parsed in zip(files, read, strict=True)
            ],
        )

    async def _started_by_push(
        self,
        project: Project,
        files: Sequence[ParsedFile],
        branch: str,
        changed: Sequence[str] | None,
    ) -> list[ParsedFile]:
        """A file with mistakes always makes a (failed) build, so that somebody sees them."""
        started = []
        for file in files:
            known = await self._is_started(project, file, branch, changed)
            if isinstance(known, Parsed):
                started.append(replace(file, parsed=known))
            elif known:
                started.append(file)
        return started

    async def _is_started(
        self, project: Project, file: ParsedFile, branch: str, changed: Sequence[str] | None
    ) -> bool | Parsed:
        workflow = file.parsed.workflow
        if workflow is None:
            return True
        asked = changed if _looks_at_paths(file) else None
        return await started_by_push(
            self.core.readings, project.account_id, workflow, branch, asked
        )

    async def _answered(
        self, project: Project, origin: Origin, files: Sequence[ParsedFile]
    ) -> list[ParsedFile]:
        """With what their conditions come to: the transaction that saves them can't wait."""
        return [
            replace(file, answers=await answers(self.core, project, file.parsed.workflow, origin))
            if file.parsed.workflow is not None
            else file
            for file in files
        ]

    async def _save(
        self,
        connection: AsyncConnection,
        project: Project,
        moved: Sequence[MovedRef],
        pushed: Sequence[StartedRef],
        principal: Principal | None,
    ) -> list[Build]:
        builds = []
        for one in pushed:
            for file in one.by_hand:
                name = file.parsed.workflow.name if file.parsed.workflow else file.path
                await known_workflow(self.core, connection, project, file.path, name)
            for file in one.files:
                wanted = await self._draft(connection, project, one.origin, file)
                builds.append(await save_pushed(self.core, connection, project, wanted))
        for ref in moved:
            await stored.save_seen_ref(connection, project.id, ref.ref, ref.new)
        await self.begun.end(connection, project.id, _pushes(moved))
        await Deed(self.core, principal, project).record(
            connection,
            "push.received",
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
        if origin.of_fork:
            # An outsider's file neither names nor adds a workflow of the project.
            known = await stored.find_workflow_by_path(connection, project.id, file.path)
            record_id = known.id if known else None
        else:
            record_id = await known_workflow(self.core, connection, project, file.path, name)
        if workflow is not None:
            return draft(workflow, project, origin, record_id, now, answers=file.answers)
        return Draft(
            workflow_name=name,
            workflow_id=record_id,
            origin=origin,
            problems=file.parsed.problems,
        )

    def _describe(self, builds: Sequence[Build]) -> list[str]:
        lines = []
        for build in builds:
            url = f"{self.core.public_url}/builds/{build.id}"
            if build.state is not BuildState.FAILED:
                ref = build.branch or build.tag
                lines.append(f"build #{build.number} {build.workflow_name} ({ref}): {url}")
                continue
            lines.append(f"build #{build.number} failed: {build.reason}: {url}")
            lines += _problem_lines(build.problems)
        return lines


def _describe_modules(modules: FoundModules | None) -> list[str]:
    if modules is None or not modules.file.problems:
        return []
    first = f"modules ({modules.file.branch}): none can be built until the file's mistakes are gone"
    return [first, *_problem_lines(modules.file.problems)]


def _problem_lines(problems: Sequence[Mapping[str, object]]) -> list[str]:
    lines = [f"  {_problem_line(problem)}" for problem in problems[:SHOWN_PROBLEMS]]
    if len(problems) > SHOWN_PROBLEMS:
        lines.append(f"  and {len(problems) - SHOWN_PROBLEMS} more")
    return lines


def _too_many_files(path: str) -> Parsed:
    message = (
        f"a commit may have {MAX_WORKFLOW_FILES} workflow files: this and later ones are left out"
    )
    return Parsed(workflow=None, problems=(Problem(message=message, file=path),))


def _is_manual(file: ParsedFile) -> bool:
    return file.parsed.workflow is not None and file.parsed.workflow.triggers.manual is not None


def _looks_at_paths(file: ParsedFile) -> bool:
    push = file.parsed.workflow.triggers.push if file.parsed.workflow else None
    return push is not None and push.paths is not None


def _wanted_of_pull(
    revision: Revision | None, pull: PullRequest
) -> tuple[Sequence[ParsedFile], list[str]]:
    """The files to build, or lines on why there are none."""
    if revision is None:
        return (), [f"{pull.head_sha[:10]} is not a commit, so nothing is built"]
    if asks_to_skip(revision.commit.message):
        return (), [SKIPPED]
    files = [
        file
        for file in revision.files
        if file.parsed.workflow is None
        or triggered_by_pull_request(file.parsed.workflow, pull.base_branch)
    ]
    return files, [] if files else ["no workflow is triggered by this pull request"]


def _problem_line(problem: Mapping[str, object]) -> str:
    place = ":".join(str(problem[key]) for key in ("file", "line", "column") if key in problem)
    return f"{place}: {problem['message']}" if place else str(problem["message"])
