"""Badges and a feed, for everybody where the project says so, else by a token."""

from __future__ import annotations

from aiohttp import web
from pydantic import ConfigDict, Field

from coordinator.api.http.api_model import ApiModel
from coordinator.api.http.context import CORE, PICTURES, PROJECTS
from coordinator.api.http.middleware import principal_of
from coordinator.api.http.operations import add_operations, operation
from coordinator.domain.model import Project
from coordinator.domain.outbox.badges import badge
from coordinator.domain.outbox.feed import atom
from coordinator.domain.people.permissions import Right

SVG, ATOM = "image/svg+xml", "application/atom+xml"
_HEADERS = {
    # Those who keep copies of pictures for others ask anew each time.
    "Cache-Control": "no-cache, max-age=0",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
}
_ERRORS = {401: "The project doesn't show it to everybody", 404: "Project not found"}


class BadgeQuery(ApiModel):
    model_config = ConfigDict(extra="ignore")

    branch: str | None = Field(
        default=None, min_length=1, max_length=255, description="The default branch if left out"
    )
    workflow: str | None = Field(
        default=None, min_length=1, max_length=255, description="Its name; any if left out"
    )


def add_routes(app: web.Application) -> None:
    add_operations(app, [get_badge, get_feed])


async def _project(request: web.Request) -> Project:
    """Who may not see it learns nothing of whether it is there."""
    project_id = request.match_info["project_id"]
    project = await request.app[PICTURES].of_everybody(project_id)
    if project is not None:
        return project
    principal = await principal_of(request, Right.READ)
    return await request.app[PROJECTS].get(principal, project_id)


@operation(
    "GET",
    "/api/projects/{project_id}/badge.svg",
    tag="Builds",
    summary="Get a picture of how a project's last build ended",
    secured=False,
    errors=_ERRORS,
    produces=SVG,
)
async def get_badge(request: web.Request, query: BadgeQuery) -> web.StreamResponse:
    project = await _project(request)
    state = await request.app[PICTURES].state(project, workflow=query.workflow, branch=query.branch)
    text = badge(query.workflow or "build", state)
    return web.Response(text=text, content_type=SVG, charset="utf-8", headers=_HEADERS)


@operation(
    "GET",
    "/api/projects/{project_id}/builds.atom",
    tag="Builds",
    summary="Get a feed of a project's builds that have ended",
    secured=False,
    errors=_ERRORS,
    produces=ATOM,
)
async def get_feed(request: web.Request) -> web.StreamResponse:
    project = await _project(request)
    base = request.app[CORE].public_url
    text = atom(
        project,
        await request.app[PICTURES].builds(project),
        base,
        f"{base}/api/projects/{project.id}/builds.atom",
    )
    return web.Response(text=text, content_type=ATOM, charset="utf-8", headers=_HEADERS)
