"""What an attempt's source has besides its commit's own files: submodules and LFS objects."""

from __future__ import annotations

from aiohttp import web
from pydantic import Field, ValidationError

from coordinator.api.http.bodies import sent
from coordinator.api.http.context import SOURCE_PARTS, SOURCE_REFS
from coordinator.api.http.elsewhere import REDIRECTS, SENT_ON, elsewhere
from coordinator.api.http.fields import Count
from coordinator.api.http.operations import add_operations, operation
from coordinator.api.steps.runner import NO_STORE, RUNNERS, STEP, AttemptQuery
from coordinator.api.steps.steps import UNTRUSTED
from coordinator.domain.errors import NotFound
from coordinator.domain.people.permissions import Principal
from pipelines_schema.contract_sources import (
    GitRefsResponse,
    LfsObject,
    LfsRequest,
    SubmoduleRef,
    SubmodulesResponse,
)

ERRORS = {
    404: "Step not found",
    409: "It can't be had: the message names it, and says what to do",
    503: "It is still being fetched: ask again in a second",
}


class RefsQuery(AttemptQuery):
    history: bool = Field(
        False, description="All tags and branches, not only the tags of the step's commit"
    )


class LfsQuery(AttemptQuery):
    size: Count = Field(description="Of the object, in bytes, as its pointer says")
    submodule: str = Field("", description="Path of the submodule that has the pointer")


def add_routes(app: web.Application) -> None:
    add_operations(app, [get_submodules, get_refs, bring_objects, get_object])


@operation(
    "GET",
    f"{STEP}/submodules",
    tag="Runner",
    summary="List the submodules of a step's commit",
    right=RUNNERS,
    errors=ERRORS,
    returns=SubmodulesResponse,
)
async def get_submodules(
    request: web.Request, principal: Principal, query: AttemptQuery
) -> web.Response:
    """Their commits are in the project's repository by then. With `Accept: text/plain` it is a
    line `COMMIT PATH` for each."""
    found = await request.app[SOURCE_PARTS].submodules(
        principal, request.match_info["step_id"], query.epoch
    )
    if "text/plain" in request.headers.get("Accept", ""):
        text = "".join(f"{submodule.commit} {submodule.path}\n" for submodule in found)
        return web.Response(text=text, headers=NO_STORE)
    answer = SubmodulesResponse(
        submodules=[SubmoduleRef(path=one.path, commit=one.commit) for one in found]
    )
    return web.json_response(answer.to_json(), headers=NO_STORE)


@operation(
    "GET",
    f"{STEP}/refs",
    tag="Runner",
    summary="List the tags and branches for a step's `.git`",
    right=RUNNERS,
    errors=ERRORS,
    returns=GitRefsResponse,
)
async def get_refs(request: web.Request, principal: Principal, query: RefsQuery) -> web.Response:
    """What they name can be fetched by its id. A fork's build sees of the branches the default
    one, and the one that it would be merged into."""
    found = await request.app[SOURCE_REFS].refs(
        principal, request.match_info["step_id"], query.epoch, history=query.history
    )
    return web.json_response(GitRefsResponse(refs=list(found)).to_json(), headers=NO_STORE)


@operation(
    "POST",
    f"{STEP}/lfs",
    tag="Runner",
    summary="Bring Git LFS objects of a step's commit to the coordinator",
    right=RUNNERS,
    errors=ERRORS,
)
async def bring_objects(
    request: web.Request, principal: Principal, query: AttemptQuery, body: LfsRequest
) -> None:
    """204 once the coordinator has all of them."""
    await request.app[SOURCE_PARTS].bring_objects(
        principal, request.match_info["step_id"], query.epoch, body.submodule, body.objects
    )


@operation(
    "GET",
    f"{STEP}/lfs/{{oid}}",
    tag="Runner",
    summary="Get a Git LFS object of a step's commit",
    right=RUNNERS,
    produces="application/octet-stream",
    also=SENT_ON,
    optional_headers=REDIRECTS,
    errors=ERRORS,
    path_rules={"oid": {"pattern": "^[0-9a-f]{64}$"}},
)
async def get_object(
    request: web.Request, principal: Principal, query: LfsQuery
) -> web.StreamResponse:
    """Brought to the coordinator first, where it is not there yet."""
    wanted = _object(request.match_info["oid"], query.size)
    account_id, chunks = await request.app[SOURCE_PARTS].open_object(
        principal, request.match_info["step_id"], query.epoch, query.submodule, wanted
    )
    sent_on = await elsewhere(
        request, principal, account_id=account_id, sha256=wanted.oid, size=wanted.size
    )
    if sent_on is not None:
        return sent_on
    response = web.StreamResponse(headers={**UNTRUSTED, **NO_STORE})
    response.content_type = "application/octet-stream"
    response.content_length = wanted.size
    await response.prepare(request)
    return await sent(request, response, chunks)


def _object(oid: str, size: int) -> LfsObject:
    try:
        return LfsObject(oid=oid, size=size)
    except ValidationError as error:
        raise NotFound("an LFS object's id is a sha256: 64 hexadecimal digits") from error
