"""What the page's home shows, in one answer."""

from __future__ import annotations

from aiohttp import web

from coordinator.api.dialects.build_server import build_shown
from coordinator.api.dialects.build_server_models import BuildShown
from coordinator.api.http.context import PROJECTS
from coordinator.api.http.fields import Instant, Shown
from coordinator.api.http.operations import add_operations, operation
from coordinator.domain.builds.overview import LastBuild, ProjectGlance
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
)
async def get_overview(request: web.Request, principal: Principal) -> OverviewShown:
    """Projects in no order; the 20 newest builds, newest first. Of what the token sees."""
    glances, builds = await request.app[PROJECTS].overview(principal)
    return OverviewShown(
        projects=[_glance(glance) for glance in glances],
        builds=[build_shown(request, build) for build in builds],
    )


def _glance(glance: ProjectGlance) -> ProjectGlanceShown:
    return ProjectGlanceShown(
        id=glance.id,
        account=glance.account_slug,
        name=glance.name,
        last_build=_last_build(glance.last_build) if glance.last_build else None,
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
