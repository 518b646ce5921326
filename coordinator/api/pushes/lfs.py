"""Git LFS for hosted projects: the batch API and "basic" transfers, below the git URL.

Whoever may fetch may download, whoever may push may upload; a step's token reads its own project's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from aiohttp import web
from pydantic import ConfigDict, Field

from coordinator.api.http.api_model import ApiModel
from coordinator.api.http.bodies import pieces, sent
from coordinator.api.http.carried import carried
from coordinator.api.http.context import CORE, LFS
from coordinator.api.http.middleware import STATUS, read_no_further
from coordinator.api.http.request_models import read_model
from coordinator.api.pushes.git import GIT_BASE, RECEIVE, UPLOAD, open_project
from coordinator.api.steps.steps import UNTRUSTED
from coordinator.domain.errors import CoordinatorError, Invalid, TooSlow
from coordinator.domain.model import Project
from pipelines_schema.contract_sources import LFS_OBJECTS_AT_ONCE, LfsObject
from pipelines_schema.redirects import SMALLEST_BYTES

MEDIA_TYPE = "application/vnd.git-lfs+json"
OID = re.compile(r"[0-9a-f]{64}")
Handler = Callable[[web.Request], Coroutine[Any, Any, web.StreamResponse]]


class BatchRequest(ApiModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    operation: str = Field(pattern="^(upload|download)$")
    transfers: list[str] = ["basic"]
    objects: list[LfsObject] = Field(max_length=LFS_OBJECTS_AT_ONCE)
    hash_algo: str = Field(default="sha256", pattern="^sha256$")


def add_routes(app: web.Application) -> None:
    base = f"{GIT_BASE}/info/lfs"
    app.router.add_post(f"{base}/objects/batch", _explained(batch))
    app.router.add_put(f"{base}/objects/{{oid}}", _explained(carried(upload)))
    app.router.add_get(f"{base}/objects/{{oid}}", _explained(download))
    app.router.add_get(f"{base}/locks", _explained(locks))
    app.router.add_post(f"{base}/locks", _explained(locks))
    app.router.add_post(f"{base}/locks/verify", _explained(locks))


def _explained(handler: Handler) -> Handler:
    """Errors in the words and the type that git-lfs shows its user."""

    async def explained(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except CoordinatorError as error:
            status = next(code for kind, code in STATUS.items() if isinstance(error, kind))
            details = [f"{one.get('path', '')}: {one['message']}" for one in error.details[:3]]
            words = "; ".join([error.message, *details])
            response = _refusal(422 if status == 400 else status, words)
            if isinstance(error, TooSlow):
                read_no_further(request, response)
            return response

    return explained


def _refusal(status: int, message: str) -> web.Response:
    headers = {}
    if status == 401:
        realm = 'Basic realm="pushrod", charset="UTF-8"'
        headers = {"WWW-Authenticate": realm, "LFS-Authenticate": realm}
    return _answer({"message": f"pushrod: {message}"}, status, headers)


def _answer(
    body: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    return web.json_response(body, status=status, headers=headers, content_type=MEDIA_TYPE)


async def batch(request: web.Request) -> web.Response:
    # Nothing of the body is looked at before the token is: a stranger learns nothing.
    project, _ = await open_project(request, UPLOAD)
    wanted = await read_model(request, BatchRequest)
    if wanted.operation == "upload":
        await open_project(request, RECEIVE)
    if "basic" not in wanted.transfers:
        raise Invalid('the one transfer known here is "basic"')
    uploads, found = wanted.operation == "upload", request.app[LFS]
    known = await (found.promised if uploads else found.known)(project, wanted.objects)
    entry = _to_upload if uploads else _to_download
    objects = [
        {"oid": item.oid, "size": item.size, **await entry(request, project, item, known)}
        for item in wanted.objects
    ]
    return _answer({"transfer": "basic", "objects": objects, "hash_algo": "sha256"})


async def _to_upload(
    request: web.Request, project: Project, item: LfsObject, known: Mapping[str, int]
) -> dict[str, Any]:
    limit = request.app[CORE].settings.max_lfs_bytes
    if item.size > limit:
        message = f"an LFS object may have {limit} bytes here (max_lfs_bytes)"
        return {"error": {"code": 422, "message": message}}
    if item.oid in known:
        return {} if known[item.oid] == item.size else _other_size(item, known[item.oid])
    return {"actions": {"upload": {"href": _href(request, project, item.oid)}}}


async def _to_download(
    request: web.Request, project: Project, item: LfsObject, known: Mapping[str, int]
) -> dict[str, Any]:
    if item.oid not in known:
        return {"error": {"code": 404, "message": "this project has no such object"}}
    if known[item.oid] != item.size:
        return _other_size(item, known[item.oid])
    core = request.app[CORE]
    if item.size >= SMALLEST_BYTES:
        # Not by a redirect, for which git-lfs would ask its user for the store's password.
        address = await core.blobs.address(project.account_id, item.oid, disposition="attachment")
        if address is not None:
            action = {"href": address, "expires_in": core.settings.objects_signed_seconds}
            return {"authenticated": True, "actions": {"download": action}}
    return {"actions": {"download": {"href": _href(request, project, item.oid)}}}


def _other_size(item: LfsObject, size: int) -> dict[str, Any]:
    message = f"the pointer says {item.size} bytes, the object has {size}: commit the file anew"
    return {"error": {"code": 422, "message": message}}


def _href(request: web.Request, project: Project, oid: str) -> str:
    """git-lfs sends the token here as it did to the batch: the host is the same."""
    base = request.app[CORE].public_url
    return f"{base}/git/{project.account_slug}/{project.slug}.git/info/lfs/objects/{oid}"


async def upload(request: web.Request) -> web.Response:
    project, principal = await open_project(request, RECEIVE)
    await request.app[LFS].store(principal, project, _oid(request), pieces(request))
    return web.Response(status=200)


async def download(request: web.Request) -> web.StreamResponse:
    project, _ = await open_project(request, UPLOAD)
    size, chunks = await request.app[LFS].open(project, _oid(request))
    response = web.StreamResponse(headers=UNTRUSTED)
    response.content_type = "application/octet-stream"
    response.content_length = size
    await response.prepare(request)
    return await sent(request, response, chunks)


async def locks(request: web.Request) -> web.Response:
    """The status at which git-lfs goes on without locks, and without a word."""
    await open_project(request, UPLOAD)
    return _refusal(501, "files can't be locked here")


def _oid(request: web.Request) -> str:
    oid = request.match_info["oid"]
    if not OID.fullmatch(oid):
        raise Invalid("an LFS object's id is a sha256: 64 hexadecimal digits")
    return oid
