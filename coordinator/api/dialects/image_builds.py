"""The Build API (specification 002): images from source files, and their deployments."""

from __future__ import annotations

from aiohttp import web

from coordinator.api.dialects.image_builds_models import (
    BUILD_STATUS,
    BuildStatus,
    DeploymentCreate,
    DeploymentPage,
    DeploymentShown,
    HealthCheckGiven,
    ImageBuildCreate,
    ImageBuildPage,
    ImageBuildShown,
    PageShown,
)
from coordinator.api.http.context import ACCOUNTS, CORE, DEPLOYMENTS, SOURCE_BUILDS
from coordinator.api.http.fields import PageQuery
from coordinator.api.http.operations import add_operations, operation
from coordinator.domain.image_builds import ImageRequest
from coordinator.domain.image_builds.records import DeploymentStatus
from coordinator.domain.lifecycle import FINISHED_STEP
from coordinator.domain.model import Account, Step
from coordinator.domain.people.permissions import Principal, Right
from coordinator.services.deployments.deployments import DeploymentRequest, DeploymentView
from coordinator.services.deployments.source_builds import ImageBuildView

DEFAULT_ACCOUNT = "default"
WAITING = (DeploymentStatus.PENDING, DeploymentStatus.STARTING)
NO_BUILD = {404: "build not found"}
NO_DEPLOYMENT = {404: "deployment not found"}


def add_routes(app: web.Application) -> None:
    add_operations(
        app,
        [
            start_build,
            list_image_builds,
            get_build,
            cancel_image_build,
            deploy,
            list_deployments,
            get_deployment,
            stop_deployment,
        ],
    )


@operation(
    "POST",
    "/api/builds",
    tag="Image builds",
    summary="Start an image build from source files",
    right=Right.BUILD,
    status=202,
)
async def start_build(
    request: web.Request, principal: Principal, body: ImageBuildCreate
) -> ImageBuildShown:
    """Answers at once with the build's id and the image's final URI. The same inputs always have
    the same URI."""
    wanted = ImageRequest(
        name=body.name,
        files=body.files,
        entry_point=body.entry_point,
        requirements=body.requirements,
        framework=body.framework,
    )
    account = await _account(request, principal)
    return _build(request, await request.app[SOURCE_BUILDS].start(principal, account, wanted))


@operation(
    "GET",
    "/api/builds",
    tag="Image builds",
    summary="Get the image builds, newest first",
    right=Right.READ,
)
async def list_image_builds(
    request: web.Request, principal: Principal, query: PageQuery
) -> ImageBuildPage:
    """Why one failed is told by its own path."""
    limit, offset = query.page
    found, total = await request.app[SOURCE_BUILDS].list_of(principal, limit, offset)
    return ImageBuildPage(
        builds=[_build(request, one) for one in found],
        pagination=PageShown.of(total, query.page, len(found)),
    )


@operation(
    "GET",
    "/api/builds/{image_build_id}",
    tag="Image builds",
    summary="Get an image build's status",
    right=Right.READ,
    errors=NO_BUILD,
)
async def get_build(request: web.Request, principal: Principal) -> ImageBuildShown:
    image_build_id = request.match_info["image_build_id"]
    return _build(request, await request.app[SOURCE_BUILDS].get(principal, image_build_id))


@operation(
    "POST",
    "/api/builds/{image_build_id}/cancel",
    tag="Image builds",
    summary="Cancel an image build",
    right=Right.BUILD,
    errors={**NO_BUILD, 409: "It has finished already"},
)
async def cancel_image_build(request: web.Request, principal: Principal) -> ImageBuildShown:
    """`status` is FAILED once its agent has ended it. A deployment that began it ends with it."""
    image_build_id = request.match_info["image_build_id"]
    return _build(request, await request.app[SOURCE_BUILDS].cancel(principal, image_build_id))


@operation(
    "POST",
    "/api/deploy",
    tag="Deployments",
    summary="Deploy an agent, building its image where sources are given",
    right=Right.BUILD,
    status=202,
)
async def deploy(
    request: web.Request, principal: Principal, body: DeploymentCreate
) -> DeploymentShown:
    """Runs the image on an agent labelled `deploy=true` until it is stopped. A new deployment of
    the same name takes the old one's place once it runs."""
    wanted = DeploymentRequest(
        agent_name=body.agent_name,
        sources=_sources(body),
        image=body.image,
        llm_configs=body.configs,
        health=body.health,
    )
    account = await _account(request, principal)
    found = await request.app[DEPLOYMENTS].start(principal, account, wanted)
    return _deployment(request, found)


@operation(
    "GET",
    "/api/deploy",
    tag="Deployments",
    summary="Get the deployments, newest first",
    right=Right.READ,
)
async def list_deployments(
    request: web.Request, principal: Principal, query: PageQuery
) -> DeploymentPage:
    """Why one failed is told by its own path."""
    limit, offset = query.page
    found, total = await request.app[DEPLOYMENTS].list_of(principal, limit, offset)
    return DeploymentPage(
        deployments=[_deployment(request, one) for one in found],
        pagination=PageShown.of(total, query.page, len(found)),
    )


@operation(
    "GET",
    "/api/deploy/{deployment_id}",
    tag="Deployments",
    summary="Get a deployment's status",
    right=Right.READ,
    errors=NO_DEPLOYMENT,
)
async def get_deployment(request: web.Request, principal: Principal) -> DeploymentShown:
    deployment_id = request.match_info["deployment_id"]
    return _deployment(request, await request.app[DEPLOYMENTS].get(principal, deployment_id))


@operation(
    "POST",
    "/api/deploy/{deployment_id}/stop",
    tag="Deployments",
    summary="Stop a deployment",
    right=Right.BUILD,
    errors={**NO_DEPLOYMENT, 409: "It has ended already"},
)
async def stop_deployment(request: web.Request, principal: Principal) -> DeploymentShown:
    """The program's container is killed; `status` is STOPPED once that is done."""
    deployment_id = request.match_info["deployment_id"]
    return _deployment(request, await request.app[DEPLOYMENTS].stop(principal, deployment_id))


def _sources(body: DeploymentCreate) -> ImageRequest | None:
    if body.source_files is None:
        return None
    return ImageRequest(
        name=body.agent_name,
        name_field="agent_name",
        files=body.source_files,
        files_field="source_files",
        entry_point=body.entry_point,
        requirements=body.requirements,
        framework=body.framework,
    )


async def _account(request: web.Request, principal: Principal) -> Account:
    """The token's own; an administrator of all accounts means the default one."""
    key = principal.account_id or DEFAULT_ACCOUNT
    return await request.app[ACCOUNTS].find_or_create(principal, key)


def _build(request: web.Request, found: ImageBuildView) -> ImageBuildShown:
    record, step = found.record, found.step
    status = _build_status(step)
    finished = step.finished_at if step and step.state in FINISHED_STEP else None
    return ImageBuildShown(
        id=record.id,
        status=status,
        image=record.image,
        error=found.error,
        reason=found.reason if status == "PENDING" else None,
        created_at=record.created_at,
        completed_at=finished if step else record.created_at,
        digest=found.digest,
        language=record.language,
        entry_point=record.entry_point,
        framework=record.framework,
        build_url=f"{request.app[CORE].public_url}/builds/{record.build_id}",
    )


def _build_status(step: Step | None) -> BuildStatus:
    """What was begun stays so: that an agent was lost meanwhile is no way back to PENDING."""
    if step is None:
        return "FAILED"
    status = BUILD_STATUS[step.state]
    return "BUILDING" if status == "PENDING" and step.attempt > 0 else status


def _deployment(request: web.Request, found: DeploymentView) -> DeploymentShown:
    deployment, program = found.deployment, found.program
    base = request.app[CORE].public_url
    return DeploymentShown(
        id=deployment.id,
        agent_name=deployment.agent_name,
        status=found.status,
        image=deployment.image,
        build_id=deployment.image_build_id,
        error=found.error,
        reason=found.reason if found.status in WAITING else None,
        created_at=deployment.created_at,
        started_at=program.started_at if program else None,
        completed_at=program.finished_at if program else None,
        replaced_by=deployment.replaced_by,
        llm_configs=[dict(config) for config in deployment.llm_configs],
        health_check=HealthCheckGiven.of(program.definition.health if program else None),
        restarts=max(program.attempt - 1, 0) if program else 0,
        log_url=f"{base}/api/steps/{program.id}/log" if program else None,
        build_url=f"{base}/builds/{deployment.build_id}",
    )
