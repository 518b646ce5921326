"""A commit that is both pushed and asked to be merged has one build of a workflow that takes both,
made by whoever of the two comes first."""

from __future__ import annotations

from datetime import datetime

from coordinator.domain.model import Build, Project
from coordinator.domain.pushes.deliveries import PullRequest
from coordinator.domain.pushes.served import serves_pull, serves_push
from coordinator.services.pushes.started_files import ParsedFile, StartedRef
from coordinator.storage.builds.builds import builds_of_commit
from coordinator.storage.connection import AsyncConnection
from coordinator.storage.projects.projects import find_workflow_by_path


async def build_for_push(
    connection: AsyncConnection, project: Project, pushed: StartedRef, file: ParsedFile
) -> Build | None:
    """The pull request's build that serves the push, too; None where the push has its own."""
    origin = pushed.origin
    if origin.event != "push" or pushed.protected or not _is_one(file):
        return None
    builds = await _builds(connection, project, origin.commit_hash or "", file)
    return serves_push(builds, origin.branch or "")


async def build_for_pull(
    connection: AsyncConnection,
    project: Project,
    pull: PullRequest,
    started: StartedRef,
    file: ParsedFile,
    heard_at: datetime,
) -> Build | None:
    """The build that serves what happened to the pull request, too; None where it has its own."""
    labelled = _asks_for_labels(file)
    beside_push = _is_one(file) and not started.protected
    if not labelled and not beside_push:
        return None
    builds = await _builds(connection, project, pull.head_sha, file)
    return serves_pull(builds, pull, heard_at, beside_push=beside_push)


async def _builds(
    connection: AsyncConnection, project: Project, commit: str, file: ParsedFile
) -> list[Build]:
    known = await find_workflow_by_path(connection, project.id, file.path)
    if known is None:
        return []
    return [
        build
        for build in await builds_of_commit(connection, project.id, commit)
        if build.workflow_id == known.id
    ]


def _is_one(file: ParsedFile) -> bool:
    """Whether its workflow takes pushes and pull requests, and doesn't want both of one commit."""
    workflow = file.parsed.workflow
    if workflow is None or workflow.triggers.push is None:
        return False
    pull = workflow.triggers.pull_request
    return pull is not None and not pull.also_push


def _asks_for_labels(file: ParsedFile) -> bool:
    workflow = file.parsed.workflow
    pull = workflow.triggers.pull_request if workflow else None
    return pull is not None and pull.labels is not None
