"""The runner contract over HTTP: script, accept, log, artifacts, completion."""

from __future__ import annotations

import re
import time
from urllib.parse import unquote

from aiohttp import web
from pydantic import Field

from coordinator.api.http.bodies import pieces
from coordinator.api.http.context import ARTIFACTS, LOGS, REPORTS, RUNNER
from coordinator.api.http.fields import MAX_INTEGER, Body, Count, Shown
from coordinator.api.http.local import LOCAL
from coordinator.api.http.operations import add_operations, operation
from coordinator.api.http.request_models import read_model
from coordinator.domain.errors import Conflict, Forbidden, Invalid, TooLarge
from coordinator.domain.model import Attempt, Step
from coordinator.domain.people.permissions import Principal, PrincipalKind, Right
from coordinator.domain.steps.late_reports import may_be_reported_on
from coordinator.services.deployments.deployments import mark_healthy
from coordinator.services.steps.output_values import OutputValues
from coordinator.services.steps.settled_images import SettledImages
from pipelines_schema.contract import (
    AcceptRequest,
    CompleteRequest,
    CompleteResponse,
    HealthyRequest,
    StepSpec,
)
from pipelines_schema.contract_images import SettleImageRequest, SettleImageResponse
from pipelines_schema.log_frames import (
    CONTENT_TYPE,
    HEADER,
    MAX_CHUNK_BYTES,
    Frame,
    MalformedFrames,
    Stream,
    decode,
)
from pipelines_schema.step_outputs import MAX_OUTPUT_BYTES, TOO_LARGE

MAX_BODY_BYTES = MAX_CHUNK_BYTES + HEADER.size * 65_536
TOO_LONG = f"send at most {MAX_CHUNK_BYTES} bytes of log in one request"
READ_BYTES = 256 * 1024

STEP = "/api/runner/{step_id}"
RUNNERS = (Right.RUN, Right.BUILD)
"""Agents, attempts' own tokens, and people who may build."""


class AttemptQuery(Body):
    epoch: Count | None = Field(None, description="The number the hand-out came with")


class ArtifactQuery(AttemptQuery):
    mode: str = Field("644", pattern="^[0-7]{1,5}$", description="Permission bits in octal")
    modified: Count | None = Field(None, description="The file's time, in seconds since 1970")


class ArtifactStored(Shown):
    name: str
    size: int
    sha256: str


def add_routes(app: web.Application) -> None:
    add_operations(
        app,
        [
            get_step,
            accept,
            settle_image,
            tell_healthy,
            complete,
            append_log,
            put_artifact,
            put_outputs,
        ],
    )


@operation(
    "GET",
    STEP,
    tag="Runner",
    summary="Get build step script",
    right=RUNNERS,
    produces="text/plain",
    errors={404: "Step not found", 409: "The step is not ready"},
    allow_head=False,  # a HEAD must not claim
)
async def get_step(request: web.Request, principal: Principal) -> web.Response:
    """The claim as text; with `Accept: application/json` the spec, for the leaseholder."""
    step_id = request.match_info["step_id"]
    if "application/json" in request.headers.get("Accept", ""):
        spec = await request.app[RUNNER].spec(principal, step_id)
        return web.json_response(spec.to_json())
    if principal.kind is PrincipalKind.STEP:
        raise Forbidden("an attempt's own token can't claim a step")
    if "Authorization" not in request.headers and principal != LOCAL:
        # A claim changes things although it is a GET, which a session isn't checked for.
        raise Forbidden("a browser's session can't claim a step")
    script = await request.app[RUNNER].claim(principal, step_id)
    return web.Response(text=script, content_type="text/plain", headers=NO_STORE)


NO_STORE = {"Cache-Control": "no-store"}


@operation(
    "POST",
    f"{STEP}/accept",
    tag="Runner",
    summary="Accept an offer",
    right=RUNNERS,
    errors={404: "Step not found", 409: "The offer is no longer open"},
)
async def accept(request: web.Request, principal: Principal, body: AcceptRequest) -> StepSpec:
    return await request.app[RUNNER].accept(principal, request.match_info["step_id"], body.epoch)


@operation(
    "POST",
    f"{STEP}/image",
    tag="Runner",
    summary="Settle which image a tag means to a build",
    right=RUNNERS,
    errors={
        404: "Step not found",
        409: "The hand-out is no longer the caller's, or the build has settled too many tags",
    },
)
async def settle_image(
    request: web.Request, principal: Principal, body: SettleImageRequest
) -> SettleImageResponse:
    images = SettledImages(request.app[RUNNER])
    return await images.settle(principal, request.match_info["step_id"], body)


@operation(
    "POST",
    f"{STEP}/healthy",
    tag="Runner",
    summary="Tell that a deployment's program has answered its health check",
    right=RUNNERS,
    errors={404: "Step not found", 409: "Not the caller's, or it has no health check"},
)
async def tell_healthy(
    request: web.Request, principal: Principal, body: HealthyRequest
) -> HealthyRequest:
    step_id = request.match_info["step_id"]
    await mark_healthy(request.app[RUNNER], principal, step_id, body.epoch)
    return body


@operation(
    "POST",
    f"{STEP}/complete",
    tag="Runner",
    summary="Complete a build step",
    right=RUNNERS,
    errors={404: "Step not found", 409: "Not the caller's, or its log is not all here"},
    body=CompleteRequest,
    returns=CompleteResponse,
)
async def complete(request: web.Request, principal: Principal) -> web.Response:
    # Logs are bytes in the end, and no odd character of theirs may keep a worker from completing.
    wanted = await read_model(request, CompleteRequest, any_text=("logs", "message", "outputPaths"))
    answer = await request.app[REPORTS].complete(principal, request.match_info["step_id"], wanted)
    return web.json_response(answer.to_json())


@operation(
    "PATCH",
    f"{STEP}/log",
    tag="Runner",
    summary="Append to a step's log",
    right=RUNNERS,
    accepts="text/plain",
    headers={"Upload-Offset": {"type": "integer", "minimum": 0, "maximum": MAX_INTEGER}},
    errors={404: "Step not found", 409: "The attempt has ended, or the offset is another"},
)
async def append_log(
    request: web.Request, principal: Principal, query: AttemptQuery
) -> web.Response:
    """Append at `Upload-Offset`: framed by log_frames, or any other type as plain output."""
    offset = offset_of(request.headers.get("Upload-Offset"))
    _, attempt = await _attempt(request, principal, query)
    if request.content_length is not None and request.content_length > MAX_BODY_BYTES:
        raise TooLarge(TOO_LONG)
    frames = frames_of(request.content_type, await _read_at_most(request, MAX_BODY_BYTES, TOO_LONG))
    size = await request.app[LOGS].append(attempt, offset, frames)
    return web.Response(status=204, headers={"Upload-Offset": str(size)})


async def _read_at_most(request: web.Request, limit: int, problem: str) -> bytes:
    body = bytearray()
    async for chunk in pieces(request):
        body += chunk
        if len(body) > limit:
            raise TooLarge(problem)
    return bytes(body)


def frames_of(content_type: str, body: bytes) -> list[Frame]:
    """Raises Invalid, TooLarge."""
    if content_type != CONTENT_TYPE:
        if len(body) > MAX_CHUNK_BYTES:
            raise TooLarge(TOO_LONG)
        now_ms = int(time.time() * 1000)
        return [Frame(stream=Stream.STDOUT, time_ms=now_ms, data=body)] if body else []
    try:
        frames = [frame for frame in decode(body) if frame.data]
    except MalformedFrames as error:
        raise Invalid(f"the log chunk is malformed: {error}") from error
    if sum(len(frame.data) for frame in frames) > MAX_CHUNK_BYTES:
        raise TooLarge(TOO_LONG)
    return frames


def offset_of(text: str | None) -> int:
    """Raises Invalid."""
    if text is None or not re.fullmatch(r"[0-9]{1,19}", text, re.ASCII):
        raise Invalid("Upload-Offset must be the log's size so far, in bytes")
    return int(text)


@operation(
    "PUT",
    STEP + r"/artifacts/{name:[\s\S]*}",
    tag="Runner",
    summary="Store an artifact",
    right=RUNNERS,
    status=201,
    accepts="application/octet-stream",
    errors={404: "Step not found", 409: "The attempt has ended"},
)
async def put_artifact(
    request: web.Request, principal: Principal, query: ArtifactQuery
) -> ArtifactStored:
    step, attempt = await _attempt(request, principal, query)
    if not may_be_reported_on(step, attempt):
        raise Conflict("this attempt has ended", stale=True)
    artifact = await request.app[ARTIFACTS].store(
        step,
        attempt,
        artifact_name(request),
        pieces(request),
        mode=int(query.mode, 8),
        modified=query.modified,
        sha256=request.headers.get("X-Content-Sha256"),
    )
    return ArtifactStored(name=artifact.name, size=artifact.size, sha256=artifact.sha256)


@operation(
    "PUT",
    STEP + "/output-values",
    tag="Runner",
    summary="Store what a step's script hands on",
    right=RUNNERS,
    status=204,
    accepts="text/plain",
    errors={404: "Step not found", 409: "The attempt has ended"},
)
async def put_outputs(
    request: web.Request, principal: Principal, query: AttemptQuery
) -> web.Response:
    """The content of the file that `$PUSHROD_OUTPUT` names: for workers that don't send it with
    the completion."""
    written = await _read_at_most(request, MAX_OUTPUT_BYTES, f"$PUSHROD_OUTPUT: {TOO_LARGE}")
    values = OutputValues(request.app[RUNNER])
    await values.store(principal, request.match_info["step_id"], query.epoch, written)
    return web.Response(status=204)


def artifact_name(request: web.Request) -> str:
    """From the raw path: aiohttp leaves `%FF` as it is, which is a different name."""
    _, _, raw = request.rel_url.raw_path.partition("/artifacts/")
    try:
        return unquote(raw, errors="strict")
    except UnicodeDecodeError as error:
        raise Invalid("an artifact's name must be UTF-8") from error


async def _attempt(
    request: web.Request, principal: Principal, query: AttemptQuery
) -> tuple[Step, Attempt]:
    return await request.app[RUNNER].attempt(principal, request.match_info["step_id"], query.epoch)
