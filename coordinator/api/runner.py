"""The runner contract over HTTP: script, accept, log, artifacts, completion."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator
from urllib.parse import unquote

from aiohttp import web

from coordinator.api.context import ARTIFACTS, LOGS, RUNNER
from coordinator.api.middleware import principal_of, read_model
from coordinator.domain.errors import Conflict, Forbidden, Invalid, TooLarge
from coordinator.domain.model import Attempt, AttemptState, Step
from coordinator.domain.permissions import Principal, PrincipalKind, Right
from pipelines_schema.contract import AcceptRequest, CompleteRequest
from pipelines_schema.log_frames import (
    CONTENT_TYPE,
    HEADER,
    MAX_CHUNK_BYTES,
    Frame,
    MalformedFrames,
    Stream,
    decode,
)

MAX_BODY_BYTES = MAX_CHUNK_BYTES + HEADER.size * 65_536
READ_BYTES = 256 * 1024


def add_routes(app: web.Application) -> None:
    step = "/api/runner/{step_id}"
    app.router.add_get(step, get_step, allow_head=False)  # a HEAD must not claim
    app.router.add_post(f"{step}/accept", accept)
    app.router.add_post(f"{step}/complete", complete)
    app.router.add_patch(f"{step}/log", append_log)
    app.router.add_put(step + r"/artifacts/{name:[\s\S]*}", put_artifact)


async def runner_of(request: web.Request) -> Principal:
    """Agents, attempts' own tokens, and people who may build."""
    principal = await principal_of(request)
    if principal.rights.isdisjoint({Right.RUN, Right.BUILD}):
        raise Forbidden("this token may not run steps")
    return principal


async def get_step(request: web.Request) -> web.Response:
    """The claim as text; with `Accept: application/json` the spec, for the leaseholder."""
    principal = await runner_of(request)
    step_id = request.match_info["step_id"]
    if "application/json" in request.headers.get("Accept", ""):
        spec = await request.app[RUNNER].spec(principal, step_id)
        return web.json_response(spec.to_json())
    if principal.kind is PrincipalKind.STEP:
        raise Forbidden("an attempt's own token can't claim a step")
    if "Authorization" not in request.headers:
        # A claim changes things although it is a GET, which a session isn't checked for.
        raise Forbidden("a browser's session can't claim a step")
    script = await request.app[RUNNER].claim(principal, step_id)
    return web.Response(text=script, content_type="text/plain", headers=NO_STORE)


NO_STORE = {"Cache-Control": "no-store"}


async def accept(request: web.Request) -> web.Response:
    principal = await runner_of(request)
    wanted = await read_model(request, AcceptRequest)
    spec = await request.app[RUNNER].accept(principal, request.match_info["step_id"], wanted.epoch)
    return web.json_response(spec.to_json(), headers=NO_STORE)


async def complete(request: web.Request) -> web.Response:
    principal = await runner_of(request)
    # Logs are bytes in the end, and no odd character of theirs may keep a worker from completing.
    wanted = await read_model(request, CompleteRequest, any_text=("logs", "message"))
    answer = await request.app[RUNNER].complete(principal, request.match_info["step_id"], wanted)
    return web.json_response(answer.to_json())


async def append_log(request: web.Request) -> web.Response:
    """Append at `Upload-Offset`: framed by log_frames, or any other type as plain output."""
    _, attempt = await _attempt(request, await runner_of(request))
    offset = _offset(request.headers.get("Upload-Offset"))
    if request.content_length is not None and request.content_length > MAX_BODY_BYTES:
        raise TooLarge(f"send at most {MAX_CHUNK_BYTES} bytes of log in one request")
    frames = _frames(request.content_type, await _read_at_most(request, MAX_BODY_BYTES))
    size = await request.app[LOGS].append(attempt, offset, frames)
    return web.Response(status=204, headers={"Upload-Offset": str(size)})


async def _read_at_most(request: web.Request, limit: int) -> bytes:
    body = bytearray()
    async for chunk in request.content.iter_chunked(READ_BYTES):
        body += chunk
        if len(body) > limit:
            raise TooLarge(f"send at most {MAX_CHUNK_BYTES} bytes of log in one request")
    return bytes(body)


def _frames(content_type: str, body: bytes) -> list[Frame]:
    if content_type != CONTENT_TYPE:
        if len(body) > MAX_CHUNK_BYTES:
            raise TooLarge(f"send at most {MAX_CHUNK_BYTES} bytes of log in one request")
        now_ms = int(time.time() * 1000)
        return [Frame(stream=Stream.STDOUT, time_ms=now_ms, data=body)] if body else []
    try:
        frames = [frame for frame in decode(body) if frame.data]
    except MalformedFrames as error:
        raise Invalid(f"the log chunk is malformed: {error}") from error
    if sum(len(frame.data) for frame in frames) > MAX_CHUNK_BYTES:
        raise TooLarge(f"send at most {MAX_CHUNK_BYTES} bytes of log in one request")
    return frames


def _offset(text: str | None) -> int:
    if text is None or not re.fullmatch(r"[0-9]{1,18}", text, re.ASCII):
        raise Invalid("Upload-Offset must be the log's size so far, in bytes")
    return int(text)


async def put_artifact(request: web.Request) -> web.Response:
    principal = await runner_of(request)
    step, attempt = await _attempt(request, principal)
    if attempt.state is not AttemptState.RUNNING:
        raise Conflict("this attempt has ended", stale=True)
    mode = request.query.get("mode", "644")
    if not re.fullmatch(r"[0-7]{1,5}", mode, re.ASCII):
        raise Invalid("mode must be permission bits in octal, such as 755")
    artifact = await request.app[ARTIFACTS].store(
        step,
        attempt,
        artifact_name(request),
        chunks_of(request),
        mode=int(mode, 8),
        sha256=request.headers.get("X-Content-Sha256"),
    )
    return web.json_response(
        {"name": artifact.name, "size": artifact.size, "sha256": artifact.sha256}, status=201
    )


def artifact_name(request: web.Request) -> str:
    """From the raw path: aiohttp leaves `%FF` as it is, which is a different name."""
    _, _, raw = request.rel_url.raw_path.partition("/artifacts/")
    try:
        return unquote(raw, errors="strict")
    except UnicodeDecodeError as error:
        raise Invalid("an artifact's name must be UTF-8") from error


async def chunks_of(request: web.Request) -> AsyncIterator[bytes]:
    async for chunk in request.content.iter_chunked(READ_BYTES):
        yield chunk


async def _attempt(request: web.Request, principal: Principal) -> tuple[Step, Attempt]:
    return await request.app[RUNNER].attempt(
        principal, request.match_info["step_id"], epoch_of(request)
    )


def epoch_of(request: web.Request) -> int | None:
    """Raises Invalid."""
    epoch = request.query.get("epoch")
    if epoch is not None and not re.fullmatch(r"[0-9]{1,18}", epoch, re.ASCII):
        raise Invalid("epoch must be the number the hand-out came with")
    return None if epoch is None else int(epoch)
