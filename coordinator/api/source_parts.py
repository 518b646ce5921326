"""What an attempt's source has besides its commit's own files: submodules and LFS objects."""

from __future__ import annotations

import re

from aiohttp import web
from pydantic import ValidationError

from coordinator.api.context import SOURCE_PARTS
from coordinator.api.middleware import read_model
from coordinator.api.runner import epoch_of, runner_of
from coordinator.api.steps import UNTRUSTED
from coordinator.domain.errors import Invalid
from pipelines_schema.contract import LfsObject, LfsRequest, SubmoduleRef, SubmodulesResponse

NO_STORE = {"Cache-Control": "no-store"}


def add_routes(app: web.Application) -> None:
    step = "/api/runner/{step_id}"
    app.router.add_get(f"{step}/submodules", get_submodules)
    app.router.add_post(f"{step}/lfs", bring_objects)
    app.router.add_get(f"{step}/lfs/{{oid}}", get_object)


async def get_submodules(request: web.Request) -> web.Response:
    """As JSON; with `Accept: text/plain` a line `COMMIT PATH` for each, for a worker of bash."""
    principal = await runner_of(request)
    found = await request.app[SOURCE_PARTS].submodules(
        principal, request.match_info["step_id"], epoch_of(request)
    )
    if "text/plain" in request.headers.get("Accept", ""):
        text = "".join(f"{submodule.commit} {submodule.path}\n" for submodule in found)
        return web.Response(text=text, headers=NO_STORE)
    answer = SubmodulesResponse(
        submodules=[SubmoduleRef(path=one.path, commit=one.commit) for one in found]
    )
    return web.json_response(answer.to_json(), headers=NO_STORE)


async def bring_objects(request: web.Request) -> web.Response:
    """204 once the coordinator has all of them."""
    principal = await runner_of(request)
    wanted = await read_model(request, LfsRequest)
    await request.app[SOURCE_PARTS].bring_objects(
        principal,
        request.match_info["step_id"],
        epoch_of(request),
        wanted.submodule,
        wanted.objects,
    )
    return web.Response(status=204)


async def get_object(request: web.Request) -> web.StreamResponse:
    """The bytes of `oid`, which has `size` bytes, of the project or its `submodule`."""
    principal = await runner_of(request)
    wanted = _object(request)
    chunks = await request.app[SOURCE_PARTS].open_object(
        principal,
        request.match_info["step_id"],
        epoch_of(request),
        request.query.get("submodule", ""),
        wanted,
    )
    response = web.StreamResponse(headers={**UNTRUSTED, **NO_STORE})
    response.content_type = "application/octet-stream"
    response.content_length = wanted.size
    await response.prepare(request)
    async for chunk in chunks:
        await response.write(chunk)
    await response.write_eof()
    return response


def _object(request: web.Request) -> LfsObject:
    size = request.query.get("size", "")
    if not re.fullmatch(r"[0-9]{1,18}", size, re.ASCII):
        raise Invalid("size must be the object's size in bytes, as its pointer says")
    try:
        return LfsObject(oid=request.match_info["oid"], size=int(size))
    except ValidationError as error:
        raise Invalid("an LFS object's id is a sha256: 64 hexadecimal digits") from error
