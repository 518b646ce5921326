"""Outputs as zip files, for people and their scripts."""

from __future__ import annotations

from collections.abc import AsyncIterator

from aiohttp import web

from coordinator.api.http.bodies import sent
from coordinator.api.http.context import DOWNLOADS
from coordinator.api.http.operations import add_operations, operation
from coordinator.api.steps.steps import UNTRUSTED
from coordinator.domain.people.permissions import Principal, Right

ANY_PROJECT = "-"
ZIP = "application/zip"


def add_routes(app: web.Application) -> None:
    add_operations(app, [zip_step, zip_build])


@operation(
    "GET",
    "/api/steps/{step_id}/artifacts.zip",
    tag="Steps",
    summary="Download a step's outputs as a zip file",
    right=Right.READ,
    produces=ZIP,
    allow_head=False,
    errors={404: "Step not found, or it has no outputs"},
)
async def zip_step(request: web.Request, principal: Principal) -> web.StreamResponse:
    """Files, folders and links, with permission bits and times to two seconds."""
    step_id = request.match_info["step_id"]
    return await _sent(request, await request.app[DOWNLOADS].of_step(principal, step_id))


@operation(
    "GET",
    "/api/projects/{project_id}/builds/{build_id}/artifacts.zip",
    tag="Builds",
    summary="Download the outputs of all steps of a build as a zip file",
    right=Right.READ,
    produces=ZIP,
    allow_head=False,
    errors={404: "Build not found, or it has no outputs"},
)
async def zip_build(request: web.Request, principal: Principal) -> web.StreamResponse:
    """Each step's in a folder of its name. `-` instead of a project's id means any project."""
    project_id = request.match_info["project_id"]
    chunks = await request.app[DOWNLOADS].of_build(
        principal,
        None if project_id == ANY_PROJECT else project_id,
        request.match_info["build_id"],
    )
    return await _sent(request, chunks)


async def _sent(request: web.Request, chunks: AsyncIterator[bytes]) -> web.StreamResponse:
    """Its size is not known before: one that breaks off lacks the end of the chunked body."""
    response = web.StreamResponse(
        headers=UNTRUSTED | {"Content-Disposition": 'attachment; filename="artifacts.zip"'}
    )
    response.content_type = ZIP
    response.enable_chunked_encoding()
    await response.prepare(request)
    return await sent(request, response, chunks)
