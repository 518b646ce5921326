"""The Build Server API (specification 003): projects, workflows, builds, images, audit log.

Its runner calls are in coordinator.api.steps.runner. What the specification lacks and we add (a
project's slug and push URL, a build's steps, cancel and retry) stands in the same objects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from coordinator.api.dialects import build_server_images, build_server_projects
from coordinator.api.dialects.build_server_models import (
    BUILD_STATUS,
    BuildCreate,
    BuildDetails,
    BuildLinks,
    BuildPage,
    BuildQuery,
    BuildShown,
    CancelWanted,
    GoneOutputShown,
    RetryWanted,
    StepShown,
    UpstreamShown,
)
from coordinator.api.dialects.build_server_projects import NO_PROJECT
from coordinator.api.http.context import (
    BUILDS,
    CORE,
    DELETIONS,
    DISPATCH,
    NAMED_BUILDS,
    PROJECTS,
    RETENTION,
    RETRIES,
    project_of,
)
from coordinator.api.http.fields import PageQuery, Pagination
from coordinator.api.http.operations import add_operations, operation
from coordinator.api.http.waits import waiting
from coordinator.api.steps.gates import approval_shown
from coordinator.domain.lifecycle import SHOWN_AS, StepState
from coordinator.domain.listing import BuildListing
from coordinator.domain.model import Build, Project, Step
from coordinator.domain.people.permissions import Principal, Right
from coordinator.domain.slugs import UUID_TEXT
from coordinator.domain.steps.gates import FOR_AN_APPROVAL
from coordinator.domain.steps.output_values import HandedOn
from coordinator.domain.upstream import Upstream
from coordinator.forges import build_links
from coordinator.services.builds.drafts import Origin, without_last_line_end
from coordinator.services.builds.retries import Again
from coordinator.services.steps.places import holders
from coordinator.services.steps.refused_claims import unfinished_dependencies
from coordinator.services.steps.step_agents import agents_of
from pipelines_schema.contract_images import BuiltImage

ANY_PROJECT = "-"
MAX_WAIT_SECONDS = 50
BUILDS_PATH = "/api/projects/{project_id}/builds"
NO_BUILD = {404: "Project or build not found"}


def add_routes(app: web.Application) -> None:
    build_server_projects.add_routes(app)
    add_operations(
        app,
        [
            list_builds,
            create_build,
            get_build,
            cancel_build,
            retry_build,
            approve_build,
            delete_build,
            pin_build,
            unpin_build,
        ],
    )
    build_server_images.add_routes(app)


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
async def create_build(
    request: web.Request, principal: Principal, body: BuildCreate
) -> BuildDetails:
    """A workflow's name or path means the file that the commit has."""
    project = await project_of(request, principal)
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
    if UUID_TEXT.fullmatch(body.workflow_id.lower()):
        build = await request.app[BUILDS].create(principal, project, body.workflow_id, origin)
    else:
        build = await request.app[NAMED_BUILDS].create(
            principal, project, origin, workflow=body.workflow_id, held=False
        )
    build, steps = await request.app[BUILDS].get(principal, project.id, build.id)
    return await _details(request, project, build, steps)


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
    if project is None:
        project = await request.app[PROJECTS].get(principal, build.project_id)
    return await _details(request, project, build, steps)


async def _details(
    request: web.Request, project: Project, build: Build, steps: Sequence[Step]
) -> BuildDetails:
    links = build_links(project, build)
    agents = await agents_of(request.app[CORE], steps)
    handed_on = await request.app[BUILDS].outputs(build)
    taken_by = await holders(request.app[CORE], steps)
    return BuildDetails(
        **_build_fields(request, build),
        version=build.version,
        steps=[
            _step(request, build, step, steps, agents, handed_on.get(step.name), taken_by)
            for step in steps
        ],
        problems=[dict(problem) for problem in build.problems] or None,
        links=BuildLinks(**links) if links else None,
    )


@operation(
    "POST",
    BUILDS_PATH + "/{build_id}/cancel",
    tag="Builds",
    summary="Cancel a build, or steps of it",
    right=Right.BUILD,
    body_optional=True,
    errors={**NO_BUILD, 409: "The build, or the step, has finished"},
)
async def cancel_build(
    request: web.Request, principal: Principal, body: CancelWanted
) -> BuildShown:
    """The body may be left out: then the whole build is cancelled."""
    project = await _any_project(request, principal)
    builds, build_id = request.app[BUILDS], request.match_info["build_id"]
    project_id = project.id if project else None
    if body.steps:
        build = await builds.cancel_steps(principal, project_id, build_id, body.steps)
    else:
        build = await builds.cancel(principal, project_id, build_id)
    return build_shown(request, build)


@operation(
    "POST",
    BUILDS_PATH + "/{build_id}/retry",
    tag="Builds",
    summary="Build the same commit and steps again, or those steps that need it",
    right=Right.BUILD,
    status=201,
    body_optional=True,
    errors={**NO_BUILD, 409: "The build has not finished, or none of its steps would run"},
)
async def retry_build(request: web.Request, principal: Principal, body: RetryWanted) -> BuildShown:
    """A new build. Steps that don't run again are taken over with their outputs and logs. The body
    may be left out: then the whole build runs again."""
    build_id = request.match_info["build_id"]
    project = await _any_project(request, principal)
    if project is None:
        old, _ = await request.app[BUILDS].get(principal, None, build_id)
        project = await request.app[PROJECTS].get(principal, old.project_id)
    again = Again(failed=body.failed, steps=body.steps)
    build = await request.app[RETRIES].retry(principal, project, build_id, again)
    return build_shown(request, build)


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


@operation(
    "DELETE",
    BUILDS_PATH + "/{build_id}",
    tag="Builds",
    summary="Delete a finished build with its logs and artifacts",
    right=Right.MANAGE,
    errors={**NO_BUILD, 409: "The build has not finished"},
)
async def delete_build(request: web.Request, principal: Principal) -> None:
    project = await _any_project(request, principal)
    await request.app[DELETIONS].delete_build(
        principal, project.id if project else None, request.match_info["build_id"]
    )


@operation(
    "POST",
    BUILDS_PATH + "/{build_id}/pin",
    tag="Builds",
    summary="Keep a build, whatever the limits of retention are",
    right=Right.BUILD,
    errors={**NO_BUILD, 409: "Its logs and artifacts were deleted"},
)
async def pin_build(request: web.Request, principal: Principal) -> BuildShown:
    return await _pinned(request, principal, pinned=True)


@operation(
    "POST",
    BUILDS_PATH + "/{build_id}/unpin",
    tag="Builds",
    summary="Leave a build to the limits of retention",
    right=Right.BUILD,
    errors=NO_BUILD,
)
async def unpin_build(request: web.Request, principal: Principal) -> BuildShown:
    return await _pinned(request, principal, pinned=False)


async def _pinned(request: web.Request, principal: Principal, *, pinned: bool) -> BuildShown:
    project, build_id = await _any_project(request, principal), request.match_info["build_id"]
    await request.app[BUILDS].get(principal, project.id if project else None, build_id)
    build = await request.app[RETENTION].pin(principal, build_id, pinned=pinned)
    return build_shown(request, build)


async def _any_project(request: web.Request, principal: Principal) -> Project | None:
    """None for `-`: any project that the principal sees."""
    if request.match_info["project_id"] == ANY_PROJECT:
        return None
    return await project_of(request, principal)


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
        "pinned_by": build.pinned_by,
        "logs_gone_at": build.logs_gone_at,
        "artifacts_gone_at": build.artifacts_gone_at,
        "started_by": build.started_by,
        "concurrency_group": build.concurrency_group,
        "upstream": _upstream(request, build.upstream),
        "waits_for": FOR_AN_APPROVAL if build.open_gates else None,
        "pull_request": build.pull_request.to_json() if build.pull_request else None,
        "clean_build": build.clean or None,
        "module": build.module.to_json() if build.module else None,
        "includes": [one.to_json() for one in build.includes] or None,
        "url": f"{request.app[CORE].public_url}/builds/{build.id}",
        "created_at": build.created_at,
        "started_at": build.started_at,
        "finished_at": build.finished_at,
    }


def _upstream(request: web.Request, upstream: Upstream | None) -> UpstreamShown | None:
    if upstream is None:
        return None
    return UpstreamShown(
        project=upstream.project,
        workflow=upstream.workflow,
        build_id=upstream.build_id,
        build_number=upstream.build_number,
        commit=upstream.commit,
        branch=upstream.branch,
        tag=upstream.tag,
        url=f"{request.app[CORE].public_url}/builds/{upstream.build_id}",
    )


def _step(
    request: web.Request,
    build: Build,
    step: Step,
    steps: Sequence[Step],
    agents: Mapping[str, str],
    handed_on: HandedOn | None,
    taken_by: Mapping[str, Sequence[str]],
) -> StepShown:
    waiting = unfinished_dependencies(step, steps) if step.state is StepState.BLOCKED else []
    return StepShown(
        id=step.id,
        name=step.name,
        status=SHOWN_AS[step.state],
        depends_on=list(step.depends_on),
        matrix_of=step.written.matrix_of,
        part_of=step.definition.part_of,
        attempt=step.attempt or None,
        exit_code=step.exit_code,
        reason=step.reason,
        message=step.message,
        agent=agents.get(step.holder or ""),
        waits_for=request.app[DISPATCH].explain(
            step, build, waiting, taken_by.get(step.concurrency_group or "", ())
        ),
        images=None
        if step.images is None
        else [BuiltImage.model_validate(image) for image in step.images],
        outputs=dict(handed_on.values) or None if handed_on else None,
        gone_outputs=[
            GoneOutputShown(path=one.path, kept_seconds=one.seconds, gone_at=one.gone_at)
            for one in step.gone_outputs
        ]
        or None,
        retry_at=step.queue_until if step.state is StepState.DELAYED else None,
        reports=True if step.written.reports is not None else None,
        inputs=True if step.written.inputs is not None else None,
        concurrency_group=step.concurrency_group,
        approval=approval_shown(build, step),
        started_at=step.started_at,
        finished_at=step.finished_at,
    )


# Images and the audit log
