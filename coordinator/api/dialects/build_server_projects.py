"""Of the Build Server API (specification 003): projects and workflows."""

from __future__ import annotations

from aiohttp import web

from coordinator.api.dialects.build_server_models import (
    ProjectChange,
    ProjectCreate,
    ProjectMade,
    ProjectShown,
    ProjectsQuery,
    PushWaits,
    TellsForge,
    WebhookSecret,
    WorkflowCreate,
    WorkflowShown,
)
from coordinator.api.http.context import (
    ACCOUNTS,
    CORE,
    DEFAULT_BRANCHES,
    DELETIONS,
    FORGE_TOKENS,
    PROJECT_CHANGES,
    PROJECTS,
    PUSH_RETRIES,
    project_of,
)
from coordinator.api.http.operations import add_operations, operation
from coordinator.api.http.unknown_members import note_ignored
from coordinator.api.http.written import as_json, json_response, list_of
from coordinator.domain.last_made import LastMade
from coordinator.domain.model import Project, WorkflowRecord
from coordinator.domain.outbox.recipients import Recipient
from coordinator.domain.people.permissions import Principal, Right
from coordinator.forges import forge_of, webhook_url
from coordinator.services.projects.project_changes import Wanted
from coordinator.services.pushes.push_retries import WaitingPush

NO_PROJECT = {404: "Project not found"}


def add_routes(app: web.Application) -> None:
    add_operations(
        app,
        [
            list_projects,
            create_project,
            get_project,
            change_project,
            delete_project,
            new_webhook_secret,
            list_workflows,
            create_workflow,
        ],
    )


# Projects


@operation(
    "GET",
    "/api/projects",
    tag="Projects",
    summary="Get projects for an account",
    right=Right.READ,
    returns=list[ProjectShown],
)
async def list_projects(
    request: web.Request, principal: Principal, query: ProjectsQuery
) -> web.StreamResponse:
    account = await request.app[ACCOUNTS].find(principal, query.account_id)
    projects = await request.app[PROJECTS].list_of(account) if account else []
    told = await request.app[FORGE_TOKENS].of_all(projects)
    waiting, base = request.app[PUSH_RETRIES].waiting, request.app[CORE].public_url
    return json_response(
        list_of(
            as_json(_project(request, project, query.account_id, told=told.get(project.id)))
            if project.id in told or waiting(project.id)
            else _WRITTEN.of(project.id, (base, project, query.account_id))
            for project in projects
        )
    )


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
        principal, account, name=body.name, repo_url=body.repo_url, forge=body.forge or None
    )
    shown = _project(request, project, body.account_id)
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
    return await _project_with_branch(request, principal, await project_of(request, principal))


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
    project = await project_of(request, principal)
    if body.default_branch is not None:
        await request.app[DEFAULT_BRANCHES].set(principal, project, body.default_branch)
    wanted = Wanted(
        name=body.name,
        repo_url=body.repo_url,
        forge=body.forge,
        archived=body.archived,
        public_badges=body.public_badges,
        status_per_step=body.status_per_step,
        trusted=body.trusted,
    )
    project = await request.app[PROJECT_CHANGES].change(principal, project, wanted)
    return await _project_with_branch(request, principal, project)


@operation(
    "DELETE",
    "/api/projects/{project_id}",
    tag="Projects",
    summary="Delete a project with all that is its",
    right=Right.MANAGE,
    errors={**NO_PROJECT, 409: "A build of it has not finished"},
)
async def delete_project(request: web.Request, principal: Principal) -> None:
    """Its builds with logs and artifacts, secrets, deliveries and hosted repository."""
    project = await project_of(request, principal)
    await request.app[DELETIONS].delete_project(principal, project)


@operation(
    "POST",
    "/api/projects/{project_id}/webhook-secret",
    tag="Projects",
    summary="Give a project a new webhook secret",
    right=Right.MANAGE,
    errors=NO_PROJECT,
)
async def new_webhook_secret(request: web.Request, principal: Principal) -> WebhookSecret:
    project = await project_of(request, principal)
    secret = await request.app[PROJECT_CHANGES].new_webhook_secret(principal, project)
    return WebhookSecret(webhook_secret=secret)


async def _project_with_branch(
    request: web.Request, principal: Principal, project: Project
) -> ProjectShown:
    branch = await request.app[DEFAULT_BRANCHES].of(project)
    account = await request.app[ACCOUNTS].find(principal, project.account_id)
    told = await request.app[FORGE_TOKENS].of_all([project])
    name = account.name if account else project.account_id
    return _project(request, project, name, branch, told=told.get(project.id))


def _project(
    request: web.Request,
    project: Project,
    account_id: str,
    default_branch: str | None = None,
    *,
    told: Recipient | None = None,
) -> ProjectShown:
    return _shown(
        request.app[CORE].public_url,
        project,
        account_id,
        default_branch,
        told=told,
        waits=request.app[PUSH_RETRIES].waiting(project.id),
    )


def _shown(
    base: str,
    project: Project,
    account_id: str,
    default_branch: str | None = None,
    *,
    told: Recipient | None = None,
    waits: WaitingPush | None = None,
) -> ProjectShown:
    forge = forge_of(project.forge, project.repo_url)
    return ProjectShown(
        id=project.id,
        account_id=account_id,
        account_uuid=project.account_id,
        account=project.account_slug,
        name=project.name,
        slug=project.slug,
        repo_url=project.repo_url,
        archived_at=project.archived_at,
        tells_forge=TellsForge(forge=told.forge or "", url=told.address) if told else None,
        public_badges=project.public_badges or None,
        status_per_step=project.status_per_step or None,
        trusted=project.trusted or None,
        push_url=f"{base}/git/{project.account_slug}/{project.slug}.git",
        webhook_url=webhook_url(base, forge, project.id),
        forge=forge.name,
        default_branch=default_branch,
        push_waits=PushWaits(reason=waits.reason, since=waits.since, tries=waits.tries)
        if waits
        else None,
        created_at=project.created_at,
        updated_at=project.updated_at,
    )


_WRITTEN: LastMade[tuple[str, Project, str], bytes] = LastMade(
    lambda source: as_json(_shown(*source))
)
"""Of projects of which there is nothing more to say, with the account as it is asked for."""


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
    project = await project_of(request, principal)
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
    project = await project_of(request, principal)
    written = [step.written() for step in body.steps]
    workflow = await request.app[PROJECTS].create_workflow(
        principal, project, body.name, [step for step, _ in written]
    )
    for index, (_, foreign) in enumerate(written):
        note_ignored(request, (f"steps[{index}].{name}" for name in foreign))
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
