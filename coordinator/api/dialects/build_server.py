"""The Build Server API (specification 003): projects, workflows, builds, images, audit log.

Its runner calls are in coordinator.api.runner. What the specification lacks and we add (a
project's slug and push URL, a build's steps, cancel and retry) stands in the same objects.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from coordinator.api.context import ACCOUNTS, BUILDS, CORE, DISPATCH, PROJECTS
from coordinator.api.middleware import principal_of, read_model
from coordinator.api.times import iso
from coordinator.domain.errors import Invalid
from coordinator.domain.lifecycle import SHOWN_AS, BuildState, StepState
from coordinator.domain.listing import BuildListing
from coordinator.domain.model import AuditEntry, Build, Image, Project, Step, WorkflowRecord
from coordinator.domain.permissions import Principal, Right
from coordinator.domain.repo_url import forge_of
from coordinator.services import audit
from coordinator.services.drafts import Origin
from coordinator.services.runner import unfinished_dependencies

BUILD_STATUS: Mapping[BuildState, str] = {
    BuildState.HELD: "PENDING",
    BuildState.QUEUED: "PENDING",
    BuildState.RUNNING: "RUNNING",
    BuildState.SUCCEEDED: "SUCCESS",
    BuildState.FAILED: "FAILED",
    BuildState.CANCELLED: "FAILED",
}
ANY_PROJECT = "-"
MAX_PAGE = 100
MAX_OFFSET = 2**63 - 1
MAX_WAIT_SECONDS = 50.0
IMAGE_URL = re.compile(r"(docker://|oci-layout://)?[A-Za-z0-9/][A-Za-z0-9._:/@-]*", re.ASCII)


class Body(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="ignore")


class ProjectCreate(Body):
    account_id: str = Field(min_length=1, max_length=200)
    name: str = Field(min_length=1, max_length=100)
    repo_url: str | None = None


class WorkflowStep(Body):
    name: str = Field(min_length=1, max_length=100)
    image_slug: str = Field(min_length=1)
    depends_on: list[str]
    run_script: str = Field(min_length=1)
    cache_dirs: list[str]
    output_paths: list[str]


class WorkflowCreate(Body):
    name: str = Field(min_length=1, max_length=100)
    steps: list[WorkflowStep]


class BuildCreate(Body):
    workflow_id: str = Field(min_length=1)
    commit_hash: str | None = None
    repo_url: str | None = None
    branch: str | None = None
    commit_message: str | None = None
    commit_author: str | None = None
    params: dict[str, str] | None = None


class ImageCreate(Body):
    slug: str = Field(min_length=1, max_length=50)
    image_url: str = Field(min_length=1, max_length=500)
    public: bool = Field(default=False, strict=True)


def add_routes(app: web.Application) -> None:
    router = app.router
    router.add_get("/api/projects", list_projects)
    router.add_post("/api/projects", create_project)
    router.add_get("/api/projects/{project_id}", get_project)
    router.add_get("/api/projects/{project_id}/workflows", list_workflows)
    router.add_post("/api/projects/{project_id}/workflows", create_workflow)
    router.add_get("/api/projects/{project_id}/builds", list_builds)
    router.add_post("/api/projects/{project_id}/builds", create_build)
    router.add_get("/api/projects/{project_id}/builds/{build_id}", get_build)
    router.add_post("/api/projects/{project_id}/builds/{build_id}/cancel", cancel_build)
    router.add_post("/api/projects/{project_id}/builds/{build_id}/retry", retry_build)
    router.add_post("/api/projects/{project_id}/builds/{build_id}/approve", approve_build)
    router.add_get("/api/docker-images", list_images)
    router.add_post("/api/docker-images", create_image)
    router.add_get("/api/audit-logs", list_audit_logs)


# Projects


async def list_projects(request: web.Request) -> web.Response:
    principal = await principal_of(request, Right.READ)
    key = request.query.get("accountId")
    if not key:
        raise Invalid("accountId is missing: name the account whose projects you want")
    account = await request.app[ACCOUNTS].find(principal, key)
    projects = await request.app[PROJECTS].list_of(account) if account else []
    return web.json_response([_project(request, project) for project in projects])


async def create_project(request: web.Request) -> web.Response:
    principal = await principal_of(request, Right.MANAGE)
    wanted = await read_model(request, ProjectCreate)
    account = await request.app[ACCOUNTS].find_or_create(principal, wanted.account_id)
    project = await request.app[PROJECTS].create(
        principal, account, name=wanted.name, repo_url=wanted.repo_url
    )
    secret = request.app[CORE].keys.webhook_secret(project.id)
    return web.json_response(_project(request, project) | {"webhookSecret": secret}, status=201)


async def get_project(request: web.Request) -> web.Response:
    project = await _find_project(request, await principal_of(request, Right.READ))
    return web.json_response(_project(request, project))


async def _find_project(request: web.Request, principal: Principal) -> Project:
    return await request.app[PROJECTS].get(principal, request.match_info["project_id"])


def _project(request: web.Request, project: Project) -> dict[str, Any]:
    base = request.app[CORE].public_url
    forge = forge_of(project.repo_url)
    return _present(
        id=project.id,
        accountId=project.account_id,
        account=project.account_slug,
        name=project.name,
        slug=project.slug,
        repoUrl=project.repo_url,
        pushUrl=f"{base}/git/{project.account_slug}/{project.slug}.git",
        webhookUrl=f"{base}/api/webhooks/{forge}/{project.id}",
        createdAt=iso(project.created_at),
        updatedAt=iso(project.updated_at),
    )


# Workflows


async def list_workflows(request: web.Request) -> web.Response:
    project = await _find_project(request, await principal_of(request, Right.READ))
    workflows = await request.app[PROJECTS].list_workflows(project)
    return web.json_response([_workflow(workflow) for workflow in workflows])


async def create_workflow(request: web.Request) -> web.Response:
    principal = await principal_of(request, Right.MANAGE)
    project = await _find_project(request, principal)
    wanted = await read_model(request, WorkflowCreate)
    workflow = await request.app[PROJECTS].create_workflow(
        principal,
        project,
        wanted.name,
        [step.model_dump(by_alias=True) for step in wanted.steps],
    )
    return web.json_response(_workflow(workflow), status=201)


def _workflow(workflow: WorkflowRecord) -> dict[str, Any]:
    return _present(
        id=workflow.id,
        projectId=workflow.project_id,
        name=workflow.name,
        path=workflow.path,
        createdAt=iso(workflow.created_at),
        updatedAt=iso(workflow.updated_at),
    )


# Builds


async def list_builds(request: web.Request) -> web.Response:
    principal = await principal_of(request, Right.READ)
    project = await _any_project(request, principal)
    limit, offset = page_of(request, default_limit=20)
    listing = BuildListing(limit=limit, offset=offset)
    builds, total = await request.app[BUILDS].list_of(principal, project, listing)
    return web.json_response(
        {
            "builds": [_build(request, build) for build in builds],
            "pagination": _pagination(total, limit, offset, len(builds)),
        }
    )


async def create_build(request: web.Request) -> web.Response:
    principal = await principal_of(request, Right.BUILD)
    project = await _find_project(request, principal)
    wanted = await read_model(request, BuildCreate)
    origin = Origin(
        event="manual",
        commit_hash=wanted.commit_hash,
        repo_url=wanted.repo_url,
        branch=wanted.branch,
        commit_message=wanted.commit_message,
        commit_author=wanted.commit_author,
        params=wanted.params,
    )
    build = await request.app[BUILDS].create(principal, project, wanted.workflow_id, origin)
    return web.json_response(_build(request, build), status=201)


async def get_build(request: web.Request) -> web.Response:
    """With `wait` and `seen`, held until the build's version is not `seen` any more."""
    principal = await principal_of(request, Right.READ)
    project = await _any_project(request, principal)
    project_id = project.id if project else None
    build_id = request.match_info["build_id"]
    seconds, seen = clamped(request, "wait", 0), clamped(request, "seen", -1)
    if seconds > 0:
        build, steps = await request.app[BUILDS].wait(
            principal, project_id, build_id, seen, min(seconds, MAX_WAIT_SECONDS)
        )
    else:
        build, steps = await request.app[BUILDS].get(principal, project_id, build_id)
    shown = _build(request, build) | {
        "version": build.version,
        "steps": [_step(request, step, steps) for step in steps],
    }
    if build.problems:
        shown["problems"] = [dict(problem) for problem in build.problems]
    return web.json_response(shown)


async def cancel_build(request: web.Request) -> web.Response:
    principal = await principal_of(request, Right.BUILD)
    project = await _any_project(request, principal)
    build = await request.app[BUILDS].cancel(
        principal, project.id if project else None, request.match_info["build_id"]
    )
    return web.json_response(_build(request, build))


async def retry_build(request: web.Request) -> web.Response:
    principal = await principal_of(request, Right.BUILD)
    build_id = request.match_info["build_id"]
    project = await _any_project(request, principal)
    if project is None:
        old, _ = await request.app[BUILDS].get(principal, None, build_id)
        project = await request.app[PROJECTS].get(principal, old.project_id)
    build = await request.app[BUILDS].retry(principal, project, build_id)
    return web.json_response(_build(request, build), status=201)


async def approve_build(request: web.Request) -> web.Response:
    principal = await principal_of(request, Right.MANAGE)
    project = await _any_project(request, principal)
    build = await request.app[BUILDS].approve(
        principal, project.id if project else None, request.match_info["build_id"]
    )
    return web.json_response(_build(request, build))


async def _any_project(request: web.Request, principal: Principal) -> Project | None:
    """None for `-`: any project that the principal sees."""
    if request.match_info["project_id"] == ANY_PROJECT:
        return None
    return await _find_project(request, principal)


def _build(request: web.Request, build: Build) -> dict[str, Any]:
    return _present(
        id=build.id,
        projectId=build.project_id,
        workflowId=build.workflow_id,
        workflow=build.workflow_name,
        number=build.number,
        status=BUILD_STATUS[build.state],
        state=build.state.value,
        reason=build.reason,
        event=build.event,
        commitHash=build.commit_hash,
        repoUrl=build.repo_url,
        branch=build.branch,
        commitMessage=build.commit_message,
        commitAuthor=build.commit_author,
        tag=build.tag,
        params=dict(build.params) if build.params else None,
        retryOf=build.retry_of,
        pullRequest=dict(build.pull_request) if build.pull_request else None,
        url=f"{request.app[CORE].public_url}/builds/{build.id}",
        createdAt=iso(build.created_at),
        startedAt=iso(build.started_at) if build.started_at else None,
        finishedAt=iso(build.finished_at) if build.finished_at else None,
    )


def _step(request: web.Request, step: Step, steps: Sequence[Step]) -> dict[str, Any]:
    waiting = unfinished_dependencies(step, steps) if step.state is StepState.BLOCKED else []
    return _present(
        id=step.id,
        name=step.name,
        status=SHOWN_AS[step.state].value,
        dependsOn=list(step.depends_on),
        attempt=step.attempt or None,
        exitCode=step.exit_code,
        reason=step.reason,
        message=step.message,
        waitsFor=request.app[DISPATCH].explain(step, waiting),
        startedAt=iso(step.started_at) if step.started_at else None,
        finishedAt=iso(step.finished_at) if step.finished_at else None,
    )


# Images and the audit log


async def list_images(request: web.Request) -> web.Response:
    principal = await principal_of(request, Right.READ)
    public = {"true": True, "false": False}.get(request.query.get("public", "").lower())
    images = await request.app[PROJECTS].list_images(principal, public)
    return web.json_response([_image(image) for image in images])


async def create_image(request: web.Request) -> web.Response:
    principal = await principal_of(request, Right.MANAGE)
    wanted = await read_model(request, ImageCreate)
    if not IMAGE_URL.fullmatch(wanted.image_url):
        raise Invalid(
            f"imageUrl {wanted.image_url!r} is no image reference",
            details=[
                {
                    "path": "imageUrl",
                    "message": "write docker://registry/name:tag or registry/name:tag",
                }
            ],
        )
    key = principal.account_id or "default"
    account = await request.app[ACCOUNTS].find_or_create(principal, key)
    image = await request.app[PROJECTS].create_image(
        principal, account, slug=wanted.slug, image_url=wanted.image_url, public=wanted.public
    )
    return web.json_response(_image(image), status=201)


def _image(image: Image) -> dict[str, Any]:
    return {
        "id": image.id,
        "slug": image.slug,
        "imageUrl": image.image_url,
        "public": image.public,
        "createdAt": iso(image.created_at),
    }


async def list_audit_logs(request: web.Request) -> web.Response:
    principal = await principal_of(request, Right.MANAGE)
    limit, offset = page_of(request, default_limit=100)
    entries, total = await audit.list_entries(
        request.app[CORE],
        principal,
        project_id=request.query.get("projectId"),
        action=request.query.get("action"),
        limit=limit,
        offset=offset,
    )
    return web.json_response(
        {
            "auditLogs": [_entry(entry) for entry in entries],
            "pagination": _pagination(total, limit, offset, len(entries)),
        }
    )


def _entry(entry: AuditEntry) -> dict[str, Any]:
    return _present(
        id=entry.id,
        projectId=entry.project_id,
        action=entry.action,
        details=dict(entry.details),
        createdAt=iso(entry.created_at),
    )


# Pages and absent values


def clamped(request: web.Request, name: str, default: int) -> int:
    """An integer of the query, brought into 0 … 2⁶³ - 1. Raises Invalid for text."""
    text = request.query.get(name)
    if text is None or text == "":
        return default
    if not re.fullmatch(r"[+-]?[0-9]{1,1000}", text, re.ASCII):
        raise Invalid(f"{name} must be a whole number, not {text[:40]!r}")
    return min(max(int(text), 0), MAX_OFFSET)


def page_of(request: web.Request, *, default_limit: int) -> tuple[int, int]:
    limit = clamped(request, "limit", default_limit)
    return min(max(limit, 1), MAX_PAGE), clamped(request, "offset", 0)


def _pagination(total: int, limit: int, offset: int, shown: int) -> dict[str, Any]:
    return {
        "total": total,
        "limit": limit,
        "offset": offset,
        "hasMore": offset + shown < total and shown > 0,
    }


def _present(**values: Any) -> dict[str, Any]:
    """Absent values are left out of JSON, never null."""
    return {name: value for name, value in values.items() if value is not None}
