"""The Build Synthesis API (specification 000): builds of modules that projects declare by name.

The specification names no way to log in: it takes the bearer tokens of all others. Its `build_id`
is a build's id everywhere else, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from urllib.parse import quote

from aiohttp import web
from pydantic import BeforeValidator, ConfigDict, Field, PlainSerializer

from coordinator.api.dialects.waiting_builds import waits_for
from coordinator.api.http.api_model import ApiModel
from coordinator.api.http.bodies import sent
from coordinator.api.http.context import BUILD_LOGS, MODULES
from coordinator.api.http.elsewhere import REDIRECTS, SENT_ON
from coordinator.api.http.operations import add_operations, operation
from coordinator.api.steps.runner import artifact_name
from coordinator.api.steps.steps import UNTRUSTED, attachment
from coordinator.domain.lifecycle import BuildState
from coordinator.domain.model import Artifact, Build, Step
from coordinator.domain.people.permissions import Principal, Right
from coordinator.services.builds.modules import ModuleBuild, Scalar
from pipelines_schema import DEFAULT_TARGET

PREFIX = "/api/build_synthesis"
TAG = "Build Synthesis"
NO_BUILD = {404: "No such build of a module"}
MAX_NAME_CHARACTERS = 310
"""Of a module's name with its account's and project's slugs before it."""
Status = Literal["pending", "running", "succeeded", "failed"]
STATUS: Mapping[BuildState, Status] = {
    BuildState.HELD: "pending",
    BuildState.QUEUED: "pending",
    BuildState.RUNNING: "running",
    BuildState.SUCCEEDED: "succeeded",
    BuildState.FAILED: "failed",
    BuildState.CANCELLED: "failed",
}


def _scalar(value: Any) -> Any:
    if not isinstance(value, str | bool | int | float):
        raise ValueError("write text, a number, true or false")
    return value


def _second(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


Parameter = Annotated[Scalar, BeforeValidator(_scalar)]
Second = Annotated[
    datetime,
    PlainSerializer(_second, return_type=str),
    Field(json_schema_extra={"format": "date-time"}),
]
"""Written in UTC, to the second: `2026-01-31T08:15:00Z`."""


class BuildWanted(ApiModel):
    model_config = ConfigDict(extra="forbid", title="ModuleBuildWanted")

    module_name: str = Field(
        min_length=1,
        max_length=MAX_NAME_CHARACTERS,
        description="As declared in `.pushrod/modules.yml`; `project/module` or "
        "`account/project/module` where several projects declare it; else a project's slug",
    )
    build_target: str = Field(
        DEFAULT_TARGET, min_length=1, max_length=100, description="One of the module's targets"
    )
    clean_build: bool = Field(
        default=False, strict=True, description="Whether its steps begin with empty caches"
    )
    build_parameters: dict[str, Parameter] = Field(
        default={},
        description="Parameters of the workflow that the target builds; where that declares none, "
        "any: scripts find them as PUSHROD_PARAM_<NAME>",
    )


class ArtifactQuery(ApiModel):
    model_config = ConfigDict(extra="forbid", title="ModuleArtifactQuery")

    build: str | None = Field(
        None, min_length=1, max_length=100, description="Of this build, whatever became of it"
    )
    project: str | None = Field(
        None,
        min_length=1,
        max_length=210,
        description="`project` or `account/project`, where several declare the module",
    )


class BuildTriggered(ApiModel):
    build_id: str
    status_url: str
    message: str


class BuildArtifact(ApiModel):
    name: str = Field(
        description="Its path in the workspace; with its step's name before it, "
        "where several steps left different files of that path"
    )
    url: str = Field(description="Where it can be downloaded with the same token")
    size: int | None = Field(None, description="In bytes; none of an image")
    digest: str | None = Field(None, description="Of an image that a step pushed")


class ModuleBuildStatus(ApiModel):
    build_id: str
    module_name: str
    status: Status
    start_time: Second | None = None
    end_time: Second | None = None
    logs_url: str
    artifacts: list[BuildArtifact] = Field(description="Those of the steps that have ended")
    reason: str | None = Field(
        None, description="Why it failed, where that is known, or what it waits for"
    )


def add_routes(app: web.Application) -> None:
    add_operations(app, [trigger_build, get_build_status, get_build_logs, get_module_artifact])


@operation(
    "POST",
    f"{PREFIX}/trigger",
    tag=TAG,
    summary="Build a module",
    right=Right.BUILD,
    status=202,
)
async def trigger_build(
    request: web.Request, principal: Principal, body: BuildWanted
) -> BuildTriggered:
    """At the tip of the default branch of the project that declares it."""
    build = await request.app[MODULES].trigger(
        principal,
        body.module_name,
        body.build_target,
        clean=body.clean_build,
        parameters=body.build_parameters,
    )
    return BuildTriggered(
        build_id=build.id,
        status_url=f"{PREFIX}/status/{build.id}",
        message=f"Build triggered for {_module_name(build)} module.",
    )


@operation(
    "GET",
    f"{PREFIX}/status/{{build_id}}",
    tag=TAG,
    summary="Get the status of a module's build",
    right=Right.READ,
    errors=NO_BUILD,
)
async def get_build_status(request: web.Request, principal: Principal) -> ModuleBuildStatus:
    found: ModuleBuild = await request.app[MODULES].get(principal, request.match_info["build_id"])
    build = found.build
    return ModuleBuildStatus(
        build_id=build.id,
        module_name=found.module_name,
        status=STATUS[build.state],
        start_time=build.started_at,
        end_time=build.finished_at,
        logs_url=f"{PREFIX}/logs/{build.id}",
        artifacts=[
            *(_artifact(build, name, artifact) for name, artifact in found.artifacts),
            *_images(found.steps),
        ],
        reason=build.reason
        if STATUS[build.state] == "failed"
        else waits_for(request, build, found.steps),
    )


def _module_name(build: Build) -> str:
    return build.module.name if build.module else ""


def _images(steps: Sequence[Step]) -> list[BuildArtifact]:
    """Each as its registry has it."""
    return [
        BuildArtifact(
            name=image["reference"],
            url=f"docker://{image['reference'].partition('@')[0]}@{image['digest']}",
            size=None,
            digest=image["digest"],
        )
        for step in steps
        for image in step.images or ()
    ]


def _artifact(build: Build, name: str, artifact: Artifact) -> BuildArtifact:
    url = f"/artifacts/{quote(_module_name(build))}/{quote(name)}?build={build.id}"
    return BuildArtifact(name=name, url=url, size=artifact.size, digest=None)


@operation(
    "GET",
    f"{PREFIX}/logs/{{build_id}}",
    tag=TAG,
    summary="Read the logs of a module's build",
    right=Right.READ,
    produces="text/plain",
    errors=NO_BUILD,
    allow_head=False,
)
async def get_build_logs(request: web.Request, principal: Principal) -> web.StreamResponse:
    """Of all steps in order, each below a heading; of a running build what there is so far."""
    logs, build_id = request.app[BUILD_LOGS], request.match_info["build_id"]
    await request.app[MODULES].get(principal, build_id)
    view = await logs.view(principal, build_id)
    response = web.StreamResponse(headers=UNTRUSTED)
    response.content_type, response.charset = "text/plain", "utf-8"
    await response.prepare(request)
    return await sent(request, response, logs.text(view))


@operation(
    "GET",
    "/artifacts/{module_name}/{path:.+}",
    tag=TAG,
    summary="Download a module's artifact",
    right=Right.READ,
    produces="application/octet-stream",
    also=SENT_ON,
    optional_headers=REDIRECTS,
    errors={404: "No such module, build or artifact"},
)
async def get_module_artifact(
    request: web.Request, principal: Principal, query: ArtifactQuery
) -> web.StreamResponse:
    """Of the module's newest build that succeeded, unless one is named."""
    module_name = request.match_info["module_name"]
    path = artifact_name(request).removeprefix(f"{module_name}/")
    name = module_name if query.project is None else f"{query.project}/{module_name}"
    artifact, account_id = await request.app[MODULES].artifact(principal, name, path, query.build)
    return await attachment(request, principal, artifact, account_id)
