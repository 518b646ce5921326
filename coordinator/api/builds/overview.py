"""What the page's home shows, in one answer."""

from __future__ import annotations

from aiohttp import web

from coordinator.api.dialects.build_server import build_shown
from coordinator.api.dialects.build_server_models import BuildShown
from coordinator.api.http.context import PROJECTS
from coordinator.api.http.fields import Instant, Shown
from coordinator.api.http.operations import add_operations, operation
from coordinator.api.http.written import as_json, json_response, list_of, object_of
from coordinator.domain.builds.overview import LastBuild, ProjectGlance
from coordinator.domain.last_made import LastMade
from coordinator.domain.lifecycle import BuildState
from coordinator.domain.people.permissions import Principal, Right


class LastBuildShown(Shown):
    id: str
    number: int
    state: BuildState
    created_at: Instant
    started_at: Instant | None = None
    finished_at: Instant | None = None


class ProjectGlanceShown(Shown):
    id: str
    account: str
    name: str
    last_build: LastBuildShown | None = None


class OverviewShown(Shown):
    projects: list[ProjectGlanceShown]
    builds: list[BuildShown]


def add_routes(app: web.Application) -> None:
    add_operations(app, [get_overview])


@operation(
    "GET",
    "/api/overview",
    tag="Projects",
    summary="Get every project with its last build, and the newest builds of all",
    right=Right.READ,
    returns=OverviewShown,
)
async def get_overview(request: web.Request, principal: Principal) -> web.StreamResponse:
    """Projects in no order; the 20 newest builds, newest first. Of what the token sees."""
    glances, builds = await request.app[PROJECTS].overview(principal)
    return json_response(
        object_of(
            projects=list_of(_WRITTEN.of(glance.id, glance) for glance in glances),
            builds=list_of(as_json(build_shown(request, build)) for build in builds),
        )
    )


def _glance(glance: ProjectGlance) -> bytes:
    return as_json(
        ProjectGlanceShown(
            id=glance.id,
            account=glance.account_slug,
            name=glance.name,
            last_build=_last_build(glance.last_build) if glance.last_build else None,
        )
    )


def _last_build(build: LastBuild) -> LastBuildShown:
    return LastBuildShown(
        id=build.id,
        number=build.number,
        state=build.state,
        created_at=build.created_at,
        started_at=build.started_at,
        finished_at=build.finished_at,
    )


_WRITTEN: LastMade[ProjectGlance, bytes] = LastMade(_glance)
