"""The Build Server API (specification 003): projects, workflows, builds, images, audit log.

Its runner calls are in coordinator.api.steps.runner. What the specification lacks and we add (a
project's slug and push URL, a build's steps, cancel and retry) stands in the same objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiohttp import web

from coordinator.api.dialects import build_server_images
from coordinator.api.dialects.build_server_models import (
    BUILD_STATUS,
    BuildCreate,
    BuildDetails,
    BuildPage,
    BuildQuery,
    BuildShown,
    ProjectChange,
    ProjectCreate,
    ProjectMade,
    ProjectShown,
    ProjectsQuery,
    PushWaits,
    StepShown,
    WorkflowCreate,
    WorkflowShown,
)
from coordinator.api.http.context import (
    ACCOUNTS,
    BUILDS,
    CORE,
    DEFAULT_BRANCHES,
    DISPATCH,
    PROJECTS,
    PUSH_RETRIES,
)
from coordinator.api.http.fields import PageQuery, Pagination
from coordinator.api.http.operations import add_operations, operation
from coordinator.api.http.waits import waiting
from coordinator.domain.lifecycle import SHOWN_AS, StepState
from coordinator.domain.listing import BuildListing
from coordinator.domain.model import Build, Project, Step, WorkflowRecord
from coordinator.domain.people.permissions import Principal, Right
from coordinator.domain.pushes.repo_url import forge_of
from coordinator.services.builds.drafts import Origin, without_last_line_end
from coordinator.services.steps.runner import unfinished_dependencies
from pipelines_schema.contract import BuiltImage

ANY_PROJECT = "-"
MAX_WAIT_SECONDS = 50
BUILDS_PATH = "/api/projects/{project_id}/builds"
NO_PROJECT = {404: "Project not found"}
NO_BUILD = {404: "Project or build not found"}


def add_routes(app: web.Application) -> None:
    add_operations(
        app,
        [
            list_projects,
            create_project,
            get_project,
            change_project,
            list_workflows,
            create_workflow,
            list_builds,
            create_build,
            get_build,
            cancel_build,
            retry_build,
            approve_build,
        ],
    )
    build_server_images.add_routes(app)


# Projects


@operation(
    "GET",
    "/api/projects",
    tag="Projects",
    summary="Get projects for an account",
    right=Right.READ,
)
async def list_projects(
    request: web.Request, principal: Principal, query: ProjectsQuery
) -> list[ProjectShown]:
    account = await request.app[ACCOUNTS].find(principal, query.account_id)
    projects = await request.app[PROJECTS].list_of(account) if account else []
    return [_project(request, project) for project in projects]


@operation(
    "POST",
    "/api/projects",
    tag="Projects",
    summary="Create a new project",
    right=Right.MANAGE,
    status=201,
    errors={404: "No such account, and this token may not create one"},
)
async def create_project(
    request: web.Request, principal: Principal, body: ProjectCreate
) -> ProjectMade:
    account = await request.app[ACCOUNTS].find_or_create(principal, body.account_id)
    project = await request.app[PROJECTS].create(
        principal, account, name=body.name, repo_url=body.repo_url
    )
    shown = _project(request, project)
    secret = request.app[CORE].keys.webhook_secret(project.id)
    return ProjectMade(**shown.model_dump(), webhook_secret=secret)


@operation(
    "GET",
    "/api/projects/{project_id}",
    tag="Projects",
    summary="Get a project",
    right=Right.READ,
    errors=NO_PROJECT,
)
async def get_project(request: web.Request, principal: Principal) -> ProjectShown:
    return await _project_with_branch(request, await _find_project(request, principal))


@operation(
    "PATCH",
    "/api/projects/{project_id}",
    tag="Projects",
    summary="Change a project",
    right=Right.MANAGE,
    errors={**NO_PROJECT, 409: "Its source is at a forge, which names the default branch"},
)
async def change_project(
    request: web.Request, principal: Principal, body: ProjectChange
) -> ProjectShown:
    project = await _find_project(request, principal)
    await request.app[DEFAULT_BRANCHES].set(principal, project, body.default_branch)
    return await _project_with_branch(request, project)


async def _project_with_branch(request: web.Request, project: Project) -> ProjectShown:
    branch = await request.app[DEFAULT_BRANCHES].of(project)
    return _project(request, project, branch)


async def _find_project(request: web.Request, principal: Principal) -> Project:
    return await request.app[PROJECTS].get(principal, request.match_info["project_id"])


def _project(
    request: web.Request, project: Project, default_branch: str | None = None
) -> ProjectShown:
    base = request.app[CORE].public_url
    forge = forge_of(project.repo_url)
    waits = request.app[PUSH_RETRIES].waiting(project.id)
    return ProjectShown(
        id=project.id,
        account_id=project.account_id,
        account=project.account_slug,
        name=project.name,
        slug=project.slug,
        repo_url=project.repo_url,
        push_url=f"{base}/git/{project.account_slug}/{project.slug}.git",
        webhook_url=f"{base}/api/webhooks/{forge}/{project.id}",
        default_branch=default_branch,
        push_waits=PushWaits(reason=waits.reason, since=waits.since, tries=waits.tries)
        if waits
        else None,
        created_at=project.created_at,
        updated_at=project.updated_at,
    )


# Workflows


@operation(
    "GET",
    "/api/projects/{project_id}/workflows",
    tag="Workflows",
    summary="Get workflows for a project",
    right=Right.READ,
    errors=NO_PROJECT,
)
async def list_workflows(request: web.Request, principal: Principal) -> list[WorkflowShown]:
    project = await _find_project(request, principal)
    workflows = await request.app[PROJECTS].list_workflows(project)
    return [_workflow(workflow) for workflow in workflows]


@operation(
    "POST",
    "/api/projects/{project_id}/workflows",
    tag="Workflows",
    summary="Create a new workflow",
    right=Right.MANAGE,
    status=201,
    errors=NO_PROJECT,
)
async def create_workflow(
    request: web.Request, principal: Principal, body: WorkflowCreate
) -> WorkflowShown:
    project = await _find_project(request, principal)
    workflow = await request.app[PROJECTS].create_workflow(
        principal,
        project,
        body.name,
        [step.model_dump(by_alias=True) for step in body.steps],
    )
    return _workflow(workflow)


def _workflow(workflow: WorkflowRecord) -> WorkflowShown:
    return WorkflowShown(
        id=workflow.id,
        project_id=workflow.project_id,
        name=workflow.name,
        path=workflow.path,
        created_at=workflow.created_at,
        updated_at=workflow.updated_at,
    )


# Builds


@operation(
    "GET",
    BUILDS_PATH,
    tag="Builds",
    summary="Get builds for a project",
    right=Right.READ,
    errors=NO_PROJECT,
)
async def list_builds(request: web.Request, principal: Principal, query: PageQuery) -> BuildPage:
    """Newest first. `-` instead of a project's id means all projects that the token sees."""
    project = await _any_project(request, principal)
    limit, offset = query.page
    listing = BuildListing(limit=limit, offset=offset)
    builds, total = await request.app[BUILDS].list_of(principal, project, listing)
    return BuildPage(
        builds=[build_shown(request, build) for build in builds],
        pagination=Pagination.of(total, query.page, len(builds)),
    )


@operation(
    "POST",
    BUILDS_PATH,
    tag="Builds",
    summary="Create a new build",
    right=Right.BUILD,
    status=201,
    errors={404: "Project or workflow not found"},
)
async def create_build(request: web.Request, principal: Principal, body: BuildCreate) -> BuildShown:
    project = await _find_project(request, principal)
    origin = Origin(
        event="manual",
        commit_hash=body.commit_hash,
        repo_url=body.repo_url,
        branch=body.branch or None,
        commit_message=without_last_line_end(body.commit_message),
        commit_author=body.commit_author,
        params=body.params,
        clean=body.clean_build,
    )
    build = await request.app[BUILDS].create(principal, project, body.workflow_id, origin)
    return build_shown(request, build)


@operation(
    "GET",
    BUILDS_PATH + "/{build_id}",
    tag="Builds",
    summary="Get a build with its steps",
    right=Right.READ,
    errors={**NO_BUILD, 429: "Too many requests wait already"},
)
async def get_build(request: web.Request, principal: Principal, query: BuildQuery) -> BuildDetails:
    """With `wait` and `seen`, held until the build's version is not `seen` any more."""
    project = await _any_project(request, principal)
    project_id = project.id if project else None
    build_id = request.match_info["build_id"]
    if query.wait > 0:
        with waiting(request, principal):
            build, steps = await request.app[BUILDS].wait(
                principal, project_id, build_id, query.seen, min(query.wait, MAX_WAIT_SECONDS)
            )
    else:
        build, steps = await request.app[BUILDS].get(principal, project_id, build_id)
    return BuildDetails(
        **_build_fields(request, build),
        version=build.version,
        steps=[_step(request, build, step, steps) for step in steps],
        problems=[dict(problem) for problem in build.problems] or None,
    )


@operation(
    "POST",
    BUILDS_PATH + "/{build_id}/cancel",
    tag="Builds",
    summary="Cancel a build",
    right=Right.BUILD,
    errors={**NO_BUILD, 409: "The build has finished"},
)
async def cancel_build(request: web.Request, principal: Principal) -> BuildShown:
    project = await _any_project(request, principal)
    build = await request.app[BUILDS].cancel(
        principal, project.id if project else None, request.match_info["build_id"]
    )
    return build_shown(request, build)


@operation(
    "POST",
    BUILDS_PATH + "/{build_id}/retry",
    tag="Builds",
    summary="Build the same commit and steps again",
    right=Right.BUILD,
    status=201,
    errors={**NO_BUILD, 409: "The build has not finished"},
)
async def retry_build(request: web.Request, principal: Principal) -> BuildShown:
    build_id = request.match_info["build_id"]
    project = await _any_project(request, principal)
    if project is None:
        old, _ = await request.app[BUILDS].get(principal, None, build_id)
        project = await request.app[PROJECTS].get(principal, old.project_id)
    return build_shown(request, await request.app[BUILDS].retry(principal, project, build_id))


@operation(
    "POST",
    BUILDS_PATH + "/{build_id}/approve",
    tag="Builds",
    summary="Let a held build go",
    right=Right.MANAGE,
    errors={**NO_BUILD, 409: "The build is not held"},
)
async def approve_build(request: web.Request, principal: Principal) -> BuildShown:
    project = await _any_project(request, principal)
    build = await request.app[BUILDS].approve(
        principal, project.id if project else None, request.match_info["build_id"]
    )
    return build_shown(request, build)


async def _any_project(request: web.Request, principal: Principal) -> Project | None:
    """None for `-`: any project that the principal sees."""
    if request.match_info["project_id"] == ANY_PROJECT:
        return None
    return await _find_project(request, principal)


def build_shown(request: web.Request, build: Build) -> BuildShown:
    return BuildShown(**_build_fields(request, build))


def _build_fields(request: web.Request, build: Build) -> dict[str, Any]:
    return {
        "id": build.id,
        "project_id": build.project_id,
        "workflow_id": build.workflow_id,
        "workflow": build.workflow_name,
        "number": build.number,
        "status": BUILD_STATUS[build.state],
        "state": build.state,
        "reason": build.reason,
        "event": build.event,
        "commit_hash": build.commit_hash,
        "repo_url": build.repo_url,
        "branch": build.branch,
        "commit_message": build.commit_message,
        "commit_author": build.commit_author,
        "tag": build.tag,
        "params": dict(build.params) if build.params else None,
        "retry_of": build.retry_of,
        "pull_request": build.pull_request.to_json() if build.pull_request else None,
        "clean_build": build.clean or None,
        "module": build.module.to_json() if build.module else None,
        "url": f"{request.app[CORE].public_url}/builds/{build.id}",
        "created_at": build.created_at,
        "started_at": build.started_at,
        "finished_at": build.finished_at,
    }


def _step(request: web.Request, build: Build, step: Step, steps: Sequence[Step]) -> StepShown:
    waiting = unfinished_dependencies(step, steps) if step.state is StepState.BLOCKED else []
    return StepShown(
        id=step.id,
        name=step.name,
        status=SHOWN_AS[step.state],
        depends_on=list(step.depends_on),
        attempt=step.attempt or None,
        exit_code=step.exit_code,
        reason=step.reason,
        message=step.message,
        waits_for=request.app[DISPATCH].explain(step, build, waiting),
        images=None
        if step.images is None
        else [BuiltImage.model_validate(image) for image in step.images],
        started_at=step.started_at,
        finished_at=step.finished_at,
    )


# Images and the audit log
