"""A step's log and artifacts, as people and dependants read them."""

from __future__ import annotations

import re
from urllib.parse import quote

from aiohttp import web

from coordinator.api.context import ARTIFACTS, CORE, LOGS
from coordinator.api.middleware import principal_of
from coordinator.api.runner import artifact_name
from coordinator.domain.errors import Forbidden, Invalid
from coordinator.domain.permissions import Principal, PrincipalKind, Right
from coordinator.services.logs import SLICE_MAX_BYTES, LogSlice
from coordinator.services.runner import artifact_url

MAX_WAIT_SECONDS = 50.0
UNTRUSTED = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
}
RANGE = re.compile(r"bytes=(\d{1,18})-(\d{0,18})", re.ASCII)


def add_routes(app: web.Application) -> None:
    app.router.add_get("/api/steps/{step_id}/log", get_log)
    app.router.add_get("/api/steps/{step_id}/artifacts", list_artifacts)
    app.router.add_get("/api/steps/{step_id}/artifacts/{name:.+}", get_artifact)


async def _reader(request: web.Request) -> Principal:
    principal = await principal_of(request)
    if principal.rights.isdisjoint({Right.READ, Right.RUN}):
        raise Forbidden("this token has no right to read")
    return principal


async def get_log(request: web.Request) -> web.Response:
    """Bytes from `offset` (or a Range) of the last attempt, or of `attempt`."""
    principal = await _reader(request)
    if principal.kind is PrincipalKind.STEP:
        raise Forbidden("an attempt's own token can't read logs")
    ranged = RANGE.fullmatch(request.headers.get("Range", ""))
    offset, length = _number(request, "offset") or 0, SLICE_MAX_BYTES
    if ranged:
        offset = int(ranged[1])
        if ranged[2]:
            length = min(length, max(int(ranged[2]) + 1 - offset, 0))
    slice_ = await request.app[LOGS].read(
        principal,
        request.match_info["step_id"],
        attempt_number=_number(request, "attempt"),
        offset=offset,
        wait_seconds=min(_number(request, "wait") or 0, MAX_WAIT_SECONDS),
        max_bytes=length,
    )
    headers = UNTRUSTED | {
        "Log-Attempt": str(slice_.attempt),
        "Log-Complete": "true" if slice_.complete else "false",
        "Log-Next-Offset": str(slice_.offset + len(slice_.data)),
        "Log-Size": str(slice_.size),
        "Accept-Ranges": "bytes",
        "Cache-Control": "no-store",
    }
    return web.Response(
        body=slice_.data,
        status=_range_status(slice_, headers) if ranged else 200,
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


def _number(request: web.Request, name: str) -> int | None:
    text = request.query.get(name)
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,18}", text, re.ASCII):
        raise Invalid(f"{name} must be a whole number, not {text[:40]!r}")
    return int(text)


async def list_artifacts(request: web.Request) -> web.Response:
    principal = await _reader(request)
    step_id, base = request.match_info["step_id"], request.app[CORE].public_url
    return web.json_response(
        [
            {
                "name": artifact.name,
                "size": artifact.size,
                "sha256": artifact.sha256,
                "mode": artifact.mode,
                "url": artifact_url(base, step_id, artifact.name),
            }
            for artifact in await request.app[ARTIFACTS].list_of(principal, step_id)
        ]
    )


async def get_artifact(request: web.Request) -> web.StreamResponse:
    """An attachment that no browser renders: its bytes are somebody else's."""
    principal = await _reader(request)
    artifact, account_id = await request.app[ARTIFACTS].get(
        principal, request.match_info["step_id"], artifact_name(request)
    )
    file_name = quote(artifact.name.rpartition("/")[2])
    response = web.StreamResponse(
        headers=UNTRUSTED
        | {
            "Content-Disposition": f"attachment; filename*=UTF-8''{file_name}",
            "ETag": f'"{artifact.sha256}"',
        }
    )
    response.content_type = "application/octet-stream"
    response.content_length = artifact.size
    await response.prepare(request)
    async for chunk in request.app[CORE].blobs.get(account_id, artifact.sha256):
        await response.write(chunk)
    await response.write_eof()
    return response
