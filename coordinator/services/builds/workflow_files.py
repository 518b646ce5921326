"""Workflows that live in a project's repository."""

from __future__ import annotations

from coordinator.domain.errors import Invalid
from coordinator.domain.model import Project, WorkflowRecord, WorkflowSource
from coordinator.services.builds.included_files import workflow_with_includes
from coordinator.services.core import Core, new_id
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.projects import projects as stored
from pipelines_schema import Workflow


async def workflow_at(
    core: Core, project: Project, path: str, sha: str, *, of_fork: bool
) -> Workflow:
    """Raises Invalid where the file is missing at that commit, or has mistakes."""
    files = await core.repositories.workflow_files(project.id, sha)
    file = next((file for file in files if file.path == path), None)
    if file is None:
        raise Invalid(f"there is no {path} at commit {sha}")
    parsed = await workflow_with_includes(core, project, sha, file, of_fork=of_fork)
    if parsed.workflow is None:
        raise Invalid(
            "this workflow has mistakes",
            details=[problem.to_json() for problem in parsed.problems],
        )
    return parsed.workflow


async def known_workflow(
    core: Core, connection: AsyncConnection, project: Project, path: str, name: str
) -> str:
    """The id of the file's workflow, which is made known where it was not, or renamed."""
    now = core.now()
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
