"""From moved refs to queued builds.

The refs are the truth: after each receive-pack, and at start, they are compared with the project's
`seen_refs`, and what differs is built. The builds and the new `seen_refs` are saved in one
transaction, so that a crash in between loses no push and builds none twice.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

import structlog

from coordinator.domain.model import Build, Project
from coordinator.domain.people.permissions import Principal
from coordinator.domain.pushes.default_branch import told_default_branch
from coordinator.domain.pushes.deliveries import PullRequest
from coordinator.domain.pushes.moved_refs import BRANCH, MovedRef, moved_refs
from coordinator.domain.pushes.push_lines import line_of_served, lines_of_builds, lines_of_modules
from coordinator.services.audit import Deed
from coordinator.services.builds.drafts import Draft, Origin, draft, hold
from coordinator.services.builds.saved_drafts import save_pushed
from coordinator.services.builds.workflow_files import known_workflow
from coordinator.services.core import Core
from coordinator.services.locks import Locks
from coordinator.services.pushes.begun_pushes import BegunPushes, TookProcessesDown
from coordinator.services.pushes.module_files import modules_after
from coordinator.services.pushes.served import build_for_pull, build_for_push
from coordinator.services.pushes.started_files import ParsedFile, StartedFiles, StartedRef
from coordinator.services.steps.dispatch import Dispatch
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.projects import projects as stored
from coordinator.storage.pushes.begun_pushes import Push
from coordinator.storage.trouble import trouble_of

log = structlog.get_logger()

SHOWN_BUILDS = 20


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
            builds, _ = await self._save(connection, project, [ref], (), principal)
            if ref.new is not None:
                origin = Origin.of_ref(ref.ref, ref.new)
                wanted = Draft(workflow_name="push", origin=origin, reason=reason)
                builds.append(await save_pushed(self.core, connection, project, wanted))
            return builds

        builds = await self.core.database.write(
            save, committed=lambda _: self._saved(project, _pushes([ref]))
        )
        return lines_of_builds(builds, self.core.public_url)

    async def _all_moved(self, project: Project) -> list[MovedRef]:
        refs = await self.core.repositories.refs(project.id)
        seen = await self.core.database.read(
            lambda connection: stored.read_seen_refs(connection, project.id)
        )
        return [step for ref in moved_refs(seen, refs) for step in await self._moves(project, ref)]

    async def _build_all_moved(self, project: Project, principal: Principal | None) -> list[str]:
        lines: list[str] = []
        while True:
            moved = await self._all_moved(project)
            lines += await self._settle_default_branch(project, moved)
            if not moved:
                return lines
            with suppress(_SeenMeanwhile):
                return lines + await self._build_apart(project, moved, principal)

    async def _settle_default_branch(
        self, project: Project, moved: Sequence[MovedRef]
    ) -> list[str]:
        """Before anything is built: filters by path compare a new branch with it."""
        gone = {ref.ref: ref.old for ref in moved if ref.new is None and ref.old is not None}
        settled = await self.core.repositories.settle_default_branch(project.id, gone)
        if settled is None:
            return []
        old, new = settled
        was_there = BRANCH + old in gone
        line = told_default_branch(new, old, was_there=was_there, project=project.slug)
        return [line] if line is not None else []

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
        pushed, lines = await StartedFiles(self.core).of_refs(project, moved)
        modules = await modules_after(self.core, project, {ref.ref: ref.new for ref in moved})

        async def save(connection: AsyncConnection) -> tuple[list[Build], list[str]]:
            await before(connection)
            builds, served = await self._save(connection, project, moved, pushed, principal)
            if modules is not None:
                await modules.save(connection)
            await also(connection, builds, [*lines, *served])
            return builds, served

        def committed(_: object) -> None:
            self._saved(project, _pushes(moved))
            if modules is not None:
                self.core.announcements.scheduled()

        builds, served = await self.core.database.write(save, committed=committed)
        more = lines_of_modules(modules.file) if modules is not None else []
        return builds, lines + served + lines_of_builds(builds, self.core.public_url) + more

    async def refresh_modules(self, project: Project) -> None:
        """What an older version has not read, or another default branch since."""
        async with self._locks.of(project.id):
            modules = await modules_after(self.core, project, {})
            if modules is not None:
                await self.core.database.write(
                    modules.save_unless_newer,
                    committed=lambda _: self.core.announcements.scheduled(),
                )

    async def build_pull_request(
        self, project: Project, pull: PullRequest, also: AlsoSave, heard_at: datetime | None
    ) -> Sequence[Build]:
        """As `build_moved`, for a pull request's head; one from a fork is held for approval.

        `heard_at` is when the event came in; None for one that somebody has asked to be built anew,
        whatever there is.
        """
        push = (f"refs/pull/{pull.number}/head", pull.head_sha)
        await self.begun.begin(project.id, [push])
        started, lines = await StartedFiles(self.core).of_pull(project, pull)
        made = partial(self._save_pull, project=project, pull=pull, heard_at=heard_at)

        async def save(connection: AsyncConnection) -> list[Build]:
            builds, served = ([], []) if started is None else await made(connection, started)
            await self.begun.end(connection, project.id, [push])
            await also(connection, builds, [*lines, *served])
            return builds

        return await self.core.database.write(
            save, committed=lambda _: self._saved(project, [push])
        )

    async def _save_pull(
        self,
        connection: AsyncConnection,
        started: StartedRef,
        *,
        project: Project,
        pull: PullRequest,
        heard_at: datetime | None,
    ) -> tuple[list[Build], list[str]]:
        """The builds, and lines on what has one already."""
        builds: list[Build] = []
        served: list[str] = []
        for file in started.files:
            known = None
            if heard_at is not None:
                known = await build_for_pull(connection, project, pull, started, file, heard_at)
            if known is not None:
                served.append(line_of_served(known))
                continue
            wanted = await self._draft(connection, project, started.origin, file)
            wanted = hold(wanted) if pull.fork else wanted
            builds.append(await save_pushed(self.core, connection, project, wanted))
        return builds, served

    def _saved(self, project: Project, pushes: Sequence[Push]) -> None:
        self.core.ref_states.moved(project.id, [ref for ref, _ in pushes])
        self.begun.ended(project.id, pushes)
        self.dispatch.wake()

    async def _save(
        self,
        connection: AsyncConnection,
        project: Project,
        moved: Sequence[MovedRef],
        pushed: Sequence[StartedRef],
        principal: Principal | None,
    ) -> tuple[list[Build], list[str]]:
        """The builds, and lines on what has one already."""
        builds: list[Build] = []
        served: list[str] = []
        for one in pushed:
            for file in one.by_hand:
                name = file.parsed.workflow.name if file.parsed.workflow else file.path
                await known_workflow(self.core, connection, project, file.path, name)
            for file in one.files:
                known = await build_for_push(connection, project, one, file)
                if known is not None:
                    served.append(line_of_served(known))
                    continue
                origin = one.origin.by(principal)
                wanted = await self._draft(connection, project, origin, file)
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
        return builds, served

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
            return draft(
                workflow,
                project,
                origin,
                record_id,
                now,
                answers=file.answers,
                inputs=file.inputs,
            )
        return Draft(
            workflow_name=name,
            workflow_id=record_id,
            origin=origin,
            problems=file.parsed.problems,
        )
