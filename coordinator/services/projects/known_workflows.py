"""Which of a project's workflows there are at a commit: their files come and go."""

from __future__ import annotations

from collections.abc import Sequence

from coordinator.domain.model import Project, WorkflowRecord
from coordinator.services.core import Core
from coordinator.storage.projects import projects as stored


async def known_workflows(core: Core, project: Project) -> Sequence[WorkflowRecord]:
    """Also those whose file is gone: builds of them are still shown. Oldest first."""
    return await core.database.read(
        lambda connection: stored.list_workflows(connection, project.id)
    )


async def those_at(
    core: Core, project: Project, records: Sequence[WorkflowRecord], commit: str | None
) -> Sequence[WorkflowRecord]:
    """Those whose file is at the commit, and those that were made over the API."""
    files = await core.repositories.workflow_files(project.id, commit) if commit else ()
    paths = {None, *(file.path for file in files)}
    return [one for one in records if one.path in paths]
