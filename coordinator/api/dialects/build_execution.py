"""The Build Execution API (specification 001) at /api/v1: builds that are made, then started."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from aiohttp import web

from coordinator.api.dialects import build_execution_login, build_execution_logs
from coordinator.api.dialects.build_execution_keys import OPTIONAL_HEADERS, made_once
from coordinator.api.dialects.build_execution_models import (
    STATUS,
    BuildCreate,
    BuildList,
    BuildShown,
    ListQuery,
    Progress,
    SortBy,
    StatusShown,
)
from coordinator.api.dialects.build_execution_operation import build_operation
from coordinator.api.dialects.waiting_builds import waits_for
from coordinator.api.http.context import BUILDS, CORE, DELETIONS, NAMED_BUILDS, PROJECTS, RETRIES
from coordinator.api.http.operations import add_operations
from coordinator.domain.builds.estimates import progress_of
from coordinator.domain.builds.keyed_requests import KeyedRequest
from coordinator.domain.errors import Conflict, NotFound
from coordinator.domain.lifecycle import BuildState
from coordinator.domain.listing import BuildListing, BuildOrder, offset_of_page
from coordinator.domain.model import Build
from coordinator.domain.people.permissions import BuildPermission, Principal
from coordinator.services.builds.build_progress import estimate
from coordinator.services.builds.drafts import Origin

CANCEL_SECONDS = 3.0
"""A cancel is answered once the build has ended, or after so long: its agent may be away."""
ORDERS = {
    SortBy.CREATED_AT: BuildOrder.CREATED_AT,
    SortBy.UPDATED_AT: BuildOrder.UPDATED_AT,
    SortBy.BUILD_NUMBER: BuildOrder.NUMBER,
}
RETRIED = (BuildState.FAILED, BuildState.CANCELLED)


def add_routes(app: web.Application) -> None:
    add_operations(
        app,
        [
            *build_execution_login.OPERATIONS,
            list_builds,
            create_build,
            get_build,
            delete_build,
            start_build,
            cancel_build,
            retry_build,
            get_status,
            *build_execution_logs.OPERATIONS,
        ],
    )


@build_operation("GET", "", BuildPermission.LIST, summary="List builds")
async def list_builds(request: web.Request, principal: Principal, query: ListQuery) -> BuildList:
    builds, total = await _page(request, principal, query)
    return BuildList(
        builds=[build_shown(request, build) for build in builds],
        total_count=total,
        page=query.page,
        limit=query.limit,
        has_more=query.page * query.limit < total,
    )


async def _page(
    request: web.Request, principal: Principal, query: ListQuery
) -> tuple[Sequence[Build], int]:
    """A filter by a project that is not there finds nothing, as any other would."""
    listing = BuildListing(
        limit=query.limit,
        offset=offset_of_page(query.page, query.limit),
        states=frozenset(one for one in STATUS if STATUS[one] is query.status) or None,
        order=ORDERS[query.sort_by],
        ascending=query.sort_order == "asc",
    )
    project = None
    if query.project_id is not None:
        try:
            project = await request.app[PROJECTS].get(principal, query.project_id)
        except NotFound:
            return (), 0
    return await request.app[BUILDS].list_of(principal, project, listing)


@build_operation(
    "POST",
    "",
    BuildPermission.CREATE,
    summary="Create a build, which waits to be started",
    status=201,
    returns=BuildShown,
    optional_headers=OPTIONAL_HEADERS,
    errors={404: "Project not found", 409: "The Idempotency-Key came with another request"},
)
async def create_build(
    request: web.Request, principal: Principal, body: BuildCreate
) -> web.StreamResponse:
    """Of the branch's tip as it is now, or of `git_commit`. `Location` is the build's own path."""
    origin = Origin(
        event="manual",
        branch=body.git_branch,
        commit_hash=body.git_commit.lower() if body.git_commit else None,
        params=body.params,
    )

    async def make(keyed: KeyedRequest | None) -> Build:
        project = await request.app[PROJECTS].get(principal, body.project_id)
        return await request.app[NAMED_BUILDS].create(
            principal, project, origin, workflow=body.workflow, held=True, keyed=keyed
        )

    asked = body.model_dump_json()
    return await made_once(request, principal, asked, partial(build_shown, request), make)


@build_operation("GET", "/{build_id}", BuildPermission.READ, summary="Get a build")
async def get_build(request: web.Request, principal: Principal) -> BuildShown:
    build, _ = await request.app[BUILDS].get(principal, None, request.match_info["build_id"])
    return build_shown(request, build)


@build_operation(
    "DELETE",
    "/{build_id}",
    BuildPermission.DELETE,
    summary="Delete a finished build with its logs and artifacts",
    errors={409: "The build has not finished"},
)
async def delete_build(request: web.Request, principal: Principal) -> None:
    await request.app[DELETIONS].delete_build(principal, None, request.match_info["build_id"])


@build_operation(
    "POST",
    "/{build_id}/start",
    BuildPermission.CREATE,
    summary="Start a build",
    errors={409: "The build was started already"},
)
async def start_build(request: web.Request, principal: Principal) -> BuildShown:
    build_id = request.match_info["build_id"]
    return build_shown(request, await request.app[BUILDS].start(principal, None, build_id))


@build_operation(
    "POST",
    "/{build_id}/cancel",
    BuildPermission.CANCEL,
    summary="Cancel a build",
    errors={409: "The build has finished"},
)
async def cancel_build(request: web.Request, principal: Principal) -> BuildShown:
    """Answered when the steps that run have been killed, at the latest after three seconds."""
    builds, build_id = request.app[BUILDS], request.match_info["build_id"]
    build = await builds.cancel(principal, None, build_id)
    build = await builds.wait_for_end(principal, build, CANCEL_SECONDS)
    return build_shown(request, build)


@build_operation(
    "POST",
    "/{build_id}/retry",
    BuildPermission.CREATE,
    summary="Build a failed or cancelled build's commit and steps again",
    status=201,
    returns=BuildShown,
    optional_headers=OPTIONAL_HEADERS,
    errors={
        409: "The build has neither failed nor been cancelled, or the Idempotency-Key came with "
        "another request"
    },
)
async def retry_build(request: web.Request, principal: Principal) -> web.StreamResponse:
    """A new build, queued at once; `retry_of` names the old one, `Location` is its own path."""
    builds, build_id = request.app[BUILDS], request.match_info["build_id"]

    async def make(keyed: KeyedRequest | None) -> Build:
        old, _ = await builds.get(principal, None, build_id)
        if old.state not in RETRIED:
            raise Conflict(
                f"a build is retried once it failed or was cancelled: this is {STATUS[old.state]}"
            )
        project = await request.app[PROJECTS].get(principal, old.project_id)
        return await request.app[RETRIES].retry(principal, project, build_id, keyed=keyed)

    return await made_once(request, principal, "", partial(build_shown, request), make)


@build_operation("GET", "/{build_id}/status", BuildPermission.READ, summary="Get a build's status")
async def get_status(request: web.Request, principal: Principal) -> StatusShown:
    build_id = request.match_info["build_id"]
    build, steps = await request.app[BUILDS].get(principal, None, build_id)
    progress = progress_of(steps, succeeded=build.state is BuildState.SUCCEEDED)
    return StatusShown(
        build_id=build.id,
        status=STATUS[build.state],
        progress=Progress(
            current_step=progress.current_step,
            total_steps=progress.total_steps,
            percentage=progress.percentage,
        ),
        started_at=build.started_at,
        completed_at=build.finished_at,
        estimated_completion=await estimate(request.app[CORE], build, steps),
        waits_for=waits_for(request, build, steps),
    )


def build_shown(request: web.Request, build: Build) -> BuildShown:
    return BuildShown(
        id=build.id,
        project_id=build.project_id,
        build_number=build.number,
        git_branch=build.branch,
        git_commit=build.commit_hash,
        status=STATUS[build.state],
        created_at=build.created_at,
        updated_at=build.updated_at,
        started_at=build.started_at,
        completed_at=build.finished_at,
        retry_of=build.retry_of,
        workflow=build.workflow_name,
        workflow_id=build.workflow_id,
        git_tag=build.tag,
        reason=build.reason,
        url=f"{request.app[CORE].public_url}/builds/{build.id}",
    )
