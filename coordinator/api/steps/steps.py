"""A step's log and artifacts, as people and dependants read them."""

from __future__ import annotations

import re
from contextlib import nullcontext
from urllib.parse import quote

from aiohttp import web
from pydantic import Field

from coordinator.api.http.bodies import sent
from coordinator.api.http.context import ARTIFACTS, CORE, LOGS
from coordinator.api.http.elsewhere import REDIRECTS, SENT_ON, elsewhere
from coordinator.api.http.fields import Body, Count, Shown
from coordinator.api.http.operations import add_operations, operation
from coordinator.api.http.waits import waiting
from coordinator.api.steps.runner import artifact_name
from coordinator.domain.errors import Forbidden, Invalid
from coordinator.domain.model import Artifact
from coordinator.domain.people.permissions import Principal, PrincipalKind, Right
from coordinator.domain.steps.step_words import artifact_url
from coordinator.services.logs.logs import SLICE_MAX_BYTES, LogSlice

MAX_WAIT_SECONDS = 50.0
READERS = (Right.READ, Right.RUN)
UNTRUSTED = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
}
RANGE = re.compile(r"bytes=(\d{1,18})-(\d{0,18})", re.ASCII)


class LogQuery(Body):
    attempt: Count | None = Field(None, description="The number of an attempt; without, the last")
    offset: Count = Field(0, description="In bytes")
    wait: Count = Field(0, description="Hold the answer up to so many seconds, at most 50")
    line: Count | None = Field(
        None,
        ge=1,
        description="Begin with the line of that number, from 1; not with offset or wait",
    )
    lines: Count = Field(1000, description="With line: so many at the most")


class ArtifactShown(Shown):
    name: str
    size: int
    sha256: str
    mode: int = Field(description="Permission bits")
    url: str


def add_routes(app: web.Application) -> None:
    add_operations(app, [get_log, list_artifacts, get_artifact])


@operation(
    "GET",
    "/api/steps/{step_id}/log",
    tag="Steps",
    summary="Read a step's log",
    right=READERS,
    produces="text/plain",
    also={206: "The bytes of a Range"},
    errors={
        404: "Step or attempt not found",
        416: "The Range begins beyond the end",
        429: "Too many requests wait already",
    },
)
async def get_log(request: web.Request, principal: Principal, query: LogQuery) -> web.Response:
    """Bytes from `offset` (or a Range) of the last attempt, or of `attempt`.

    Or, with `line`, so many `lines` from the one of that number on.
    """
    if principal.kind is PrincipalKind.STEP:
        raise Forbidden("an attempt's own token can't read logs")
    if query.line is not None:
        return await _lines(request, principal, query, query.line)
    ranged = RANGE.fullmatch(request.headers.get("Range", ""))
    offset, length = query.offset, SLICE_MAX_BYTES
    if ranged:
        offset = int(ranged[1])
        if ranged[2]:
            length = min(length, max(int(ranged[2]) + 1 - offset, 0))
    with waiting(request, principal) if query.wait else nullcontext():
        slice_ = await request.app[LOGS].read(
            principal,
            request.match_info["step_id"],
            attempt_number=query.attempt,
            offset=offset,
            wait_seconds=min(query.wait, MAX_WAIT_SECONDS),
            max_bytes=length,
        )
    headers = _headers(slice_)
    return _text(slice_, headers, _range_status(slice_, headers) if ranged else 200)


async def _lines(
    request: web.Request, principal: Principal, query: LogQuery, line: int
) -> web.Response:
    if query.offset or query.wait or "Range" in request.headers:
        raise Invalid("a log is read by line, or by offset (or Range) and wait: leave one out")
    slice_ = await request.app[LOGS].read_lines(
        principal,
        request.match_info["step_id"],
        attempt_number=query.attempt,
        first=line - 1,
        count=query.lines,
    )
    return _text(slice_, _headers(slice_), 200)


def _headers(slice_: LogSlice) -> dict[str, str]:
    return UNTRUSTED | {
        "Log-Attempt": str(slice_.attempt),
        "Log-Complete": "true" if slice_.complete else "false",
        "Log-Next-Offset": str(slice_.offset + len(slice_.data)),
        "Log-Size": str(slice_.size),
        "Accept-Ranges": "bytes",
        "Cache-Control": "no-store",
    }


def _text(slice_: LogSlice, headers: dict[str, str], status: int) -> web.Response:
    return web.Response(
        body=slice_.data,
        status=status,
        content_type="text/plain",
        charset="utf-8",
        headers=headers,
    )


def _range_status(slice_: LogSlice, headers: dict[str, str]) -> int:
    if not slice_.data:
        headers["Content-Range"] = f"bytes */{slice_.size}"
        return 416
    last = slice_.offset + len(slice_.data) - 1
    headers["Content-Range"] = f"bytes {slice_.offset}-{last}/{slice_.size}"
    return 206


@operation(
    "GET",
    "/api/steps/{step_id}/artifacts",
    tag="Steps",
    summary="List a step's artifacts",
    right=READERS,
    errors={404: "Step not found"},
)
async def list_artifacts(request: web.Request, principal: Principal) -> list[ArtifactShown]:
    step_id, base = request.match_info["step_id"], request.app[CORE].public_url
    return [
        ArtifactShown(
            name=artifact.name,
            size=artifact.size,
            sha256=artifact.sha256,
            mode=artifact.mode,
            url=artifact_url(base, step_id, artifact.name),
        )
        for artifact in await request.app[ARTIFACTS].list_of(principal, step_id)
    ]


@operation(
    "GET",
    "/api/steps/{step_id}/artifacts/{name:.+}",
    tag="Steps",
    summary="Download an artifact",
    right=READERS,
    produces="application/octet-stream",
    also=SENT_ON,
    optional_headers=REDIRECTS,
    errors={404: "Step or artifact not found"},
)
async def get_artifact(request: web.Request, principal: Principal) -> web.StreamResponse:
    artifact, account_id = await request.app[ARTIFACTS].get(
        principal, request.match_info["step_id"], artifact_name(request)
    )
    return await attachment(request, principal, artifact, account_id)


async def attachment(
    request: web.Request, principal: Principal, artifact: Artifact, account_id: str
) -> web.StreamResponse:
    """An attachment that no browser renders: its bytes are somebody else's."""
    disposition = f"attachment; filename*=UTF-8''{quote(artifact.name.rpartition('/')[2])}"
    sent_on = await elsewhere(
        request,
        principal,
        account_id=account_id,
        sha256=artifact.sha256,
        size=artifact.size,
        disposition=disposition,
    )
    if sent_on is not None:
        return sent_on
    response = web.StreamResponse(
        headers=UNTRUSTED | {"Content-Disposition": disposition, "ETag": f'"{artifact.sha256}"'}
    )
    response.content_type = "application/octet-stream"
    response.content_length = artifact.size
    await response.prepare(request)
    return await sent(request, response, request.app[CORE].blobs.get(account_id, artifact.sha256))
