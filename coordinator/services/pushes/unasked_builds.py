"""Builds of a workflow file that nobody asked for or pushed: made ready first, as forges and
processes take long, then saved by a short transaction."""

from __future__ import annotations

from dataclasses import replace

from coordinator.domain.errors import CoordinatorError
from coordinator.domain.model import Build, Project
from coordinator.services.audit import Deed
from coordinator.services.builds.builds import Builds
from coordinator.services.builds.drafts import Draft, Origin
from coordinator.services.builds.saved_drafts import save_pushed
from coordinator.services.builds.workflow_files import known_workflow
from coordinator.services.core import Core
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.projects import projects as stored_projects
from pipelines_schema import Problem


async def unasked_draft(builds: Builds, project: Project, path: str, origin: Origin) -> Draft:
    """At the origin's branch, or the default one. What can't be built as it is asked for is a draft
    that says why."""
    try:
        origin = await builds.at_a_branch(project, origin)
        origin = await builds.checked_origin(project, origin, by_id=False)
        workflow = await builds.read_workflow(project, path, origin)
        return await builds.drafted(project, None, workflow, origin)
    except CoordinatorError as error:
        return Draft(
            workflow_name=await known_name(builds.core, project, path),
            origin=origin,
            reason=error.message,
            problems=[Problem.from_json(dict(one)) for one in error.details],
        )


async def save_unasked(
    core: Core,
    connection: AsyncConnection,
    project: Project,
    path: str,
    wanted: Draft,
    **details: str,
) -> Build:
    """`details` are the audit log's: by what it was made."""
    record_id = await known_workflow(core, connection, project, path, wanted.workflow_name)
    build = await save_pushed(core, connection, project, replace(wanted, workflow_id=record_id))
    await Deed(core, None, build).record(connection, "build.created", **details)
    return build


async def known_name(core: Core, project: Project, path: str) -> str:
    """Of the workflow in that file, where it is known."""
    record = await core.database.read(
        lambda connection: stored_projects.find_workflow_by_path(connection, project.id, path)
    )
    return path if record is None else record.name
