"""The built-in git hosting: who may fetch and push, and what follows a push."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from coordinator.api.http.context import CORE, GIT, PROJECTS, PUSH_RETRIES
from coordinator.api.http.middleware import principal_of
from coordinator.domain.errors import CoordinatorError, Forbidden, NotFound, Unauthenticated
from coordinator.domain.model import Project
from coordinator.domain.people.permissions import Principal, PrincipalKind, Right
from coordinator.git.slots import GitClient
from coordinator.services.projects.archived import check_takes_builds
from coordinator.storage.steps import steps as stored_steps

RECEIVE = "git-receive-pack"
UPLOAD = "git-upload-pack"
OF_AGENT = web.RequestKey("of_agent", bool)
"""The token is of a step that an agent holds."""
GIT_BASE = "/git/{account}/{project:[^/]+?}{suffix:(?:\\.git)?}"


def add_routes(app: web.Application) -> None:
    app.router.add_get(GIT_BASE + "/info/refs", info_refs)
    app.router.add_post(GIT_BASE + "/{service:git-(?:upload|receive)-pack}", rpc)


async def info_refs(request: web.Request) -> web.StreamResponse:
    service = request.query.get("service", "")
    try:
        project, principal = await open_project(request, service)
    except CoordinatorError as error:
        return _refuse(error)
    return await request.app[GIT].info_refs(
        request, project.id, service, _client(request, project, principal)
    )


async def rpc(request: web.Request) -> web.StreamResponse:
    service = request.match_info["service"]
    try:
        project, principal = await open_project(request, service)
    except CoordinatorError as error:
        return _refuse(error)

    async def after_receive() -> Sequence[str]:
        return await request.app[PUSH_RETRIES].received(project, principal)

    return await request.app[GIT].rpc(
        request,
        project.id,
        service,
        env_user=principal.name,
        client=_client(request, project, principal),
        after_receive=after_receive if service == RECEIVE else None,
    )


def _client(request: web.Request, project: Project, principal: Principal) -> GitClient:
    """Of the account that asks: one that may see all has a share for each account's projects.

    Whoever claims a step himself gets its token, too, and is no agent for it.
    """
    return GitClient(
        account_id=principal.account_id or project.account_id,
        is_agent=request.get(OF_AGENT, False),
    )


async def open_project(request: web.Request, service: str) -> tuple[Project, Principal]:
    """The project of the URL, for one who may fetch from it or, with RECEIVE, push to it."""
    principal = await principal_of(request)
    names = request.match_info
    if service == RECEIVE:
        principal.require(Right.BUILD)
    elif principal.rights.isdisjoint({Right.READ, Right.RUN}):
        raise Forbidden("this token has no right to read")
    project = await request.app[PROJECTS].get_by_slugs(
        principal, names["account"], names["project"]
    )
    if service == RECEIVE:
        check_takes_builds(project)
    if service == RECEIVE and project.repo_url is not None:
        raise Forbidden(f"the source of this project is {project.repo_url}: push there")
    if principal.kind is PrincipalKind.STEP:
        await _check_step(request, principal, project)
    return project, principal


async def _check_step(request: web.Request, principal: Principal, project: Project) -> None:
    """An attempt's token reads its own project's source and no other. Raises NotFound."""
    step = await request.app[CORE].database.read(
        lambda connection: stored_steps.find_step(connection, principal.step_id or "")
    )
    if step is None or step.project_id != project.id:
        raise NotFound("project not found")
    request[OF_AGENT] = (step.holder or "").startswith("agent:")


def _refuse(error: CoordinatorError) -> web.Response:
    """In words that git shows its user."""
    if isinstance(error, Unauthenticated):
        return web.Response(
            status=401,
            text=f"pushrod: {error.message}. Give a token as the password.\n",
            headers={"WWW-Authenticate": 'Basic realm="pushrod", charset="UTF-8"'},
        )
    status = 404 if isinstance(error, NotFound) else 403
    return web.Response(status=status, text=f"pushrod: {error.message}\n")
