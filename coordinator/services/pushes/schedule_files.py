"""When the workflow files of a default branch's tip are built by themselves: at set times, and
after other projects' builds."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from coordinator.domain.model import Project
from coordinator.domain.pushes.schedule import Schedule
from coordinator.domain.upstream import BuildListener
from coordinator.ports import MAX_WORKFLOW_FILES, WorkflowFile
from coordinator.services.builds.included_files import workflow_with_includes
from coordinator.services.builds.workflow_files import known_workflow
from coordinator.services.core import Core, new_id
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.pushes import followings as stored_followings
from coordinator.storage.pushes import schedules as stored
from pipelines_schema import ScheduleTrigger, Workflow, next_firing

_MAY_NAME_IT = (b"schedule", b"build", b"\\x", b"\\u", b"\\U")
"""A file without these has neither key, whatever else it holds: escapes may spell it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundSchedules:
    """What a project's default branch declares now, to be saved."""

    core: Core
    project: Project
    declared: Mapping[str, Workflow]
    """By file."""
    unread: Collection[str]
    """Files with mistakes: what they declared before goes on, so that its builds tell of them."""

    async def save(self, connection: AsyncConnection) -> None:
        """One that was there before keeps its time: it may be due and not yet built."""
        wanted = {
            (path, _key(one)): one
            for path, workflow in self.declared.items()
            for one in workflow.triggers.schedule
        }
        gone = []
        for known in await stored.of_project(connection, self.project.id):
            stays = wanted.pop((known.path, _key(known.definition)), None) is not None
            if not stays and known.path not in self.unread:
                gone.append(known.id)
        await stored.delete(connection, gone)
        await stored.insert(connection, [self._new(path, one) for (path, _), one in wanted.items()])
        await stored_followings.replace_listeners(
            connection, self.project.id, self._listeners(), self.unread
        )
        for path, workflow in self.declared.items():
            if workflow.triggers.schedule or workflow.triggers.build:
                await known_workflow(self.core, connection, self.project, path, workflow.name)

    def _listeners(self) -> list[BuildListener]:
        return [
            BuildListener(
                id=new_id(),
                account_id=self.project.account_id,
                project_id=self.project.id,
                path=path,
                upstream=one.project,
                definition=one,
            )
            for path, workflow in self.declared.items()
            for one in workflow.triggers.build
        ]

    def _new(self, path: str, definition: ScheduleTrigger) -> Schedule:
        return Schedule(
            id=new_id(),
            project_id=self.project.id,
            path=path,
            definition=definition,
            next_at=next_firing(definition.cron, definition.timezone, self.core.now()),
        )


def _key(one: ScheduleTrigger) -> tuple[object, ...]:
    return one.cron, one.timezone, one.branch, frozenset(one.params.items())


async def schedules_at(core: Core, project: Project, sha: str | None) -> FoundSchedules:
    """`sha` is the default branch's commit; None where there is none."""
    files = () if sha is None else await core.repositories.workflow_files(project.id, sha)
    declared: dict[str, Workflow] = {}
    unread: list[str] = []
    for file in _to_read(files):
        parsed = await workflow_with_includes(core, project, sha or "", file, of_fork=False)
        if parsed.workflow is None:
            unread.append(file.path)
        else:
            declared[file.path] = parsed.workflow
    return FoundSchedules(core=core, project=project, declared=declared, unread=unread)


def _to_read(files: Sequence[WorkflowFile]) -> list[WorkflowFile]:
    first = files[:MAX_WORKFLOW_FILES]
    return [file for file in first if any(mark in file.content for mark in _MAY_NAME_IT)]
