"""Outputs in batches, as agents send and fetch them; links and folders as people read them."""

from __future__ import annotations

from aiohttp import web
from pydantic import Field, ValidationError

from coordinator.api.http.bodies import pieces, sent
from coordinator.api.http.context import OUTPUT_BATCHES, RUNNER
from coordinator.api.http.fields import Shown
from coordinator.api.http.operations import add_operations, operation
from coordinator.api.http.request_models import refuse_unstorable
from coordinator.api.steps.runner import RUNNERS, STEP, AttemptQuery
from coordinator.api.steps.steps import READERS
from coordinator.domain.errors import Conflict, Invalid, TooLarge
from coordinator.domain.people.permissions import Principal
from coordinator.domain.steps.late_reports import may_be_reported_on
from pipelines_schema.contract_outputs import (
    BATCH_BYTES,
    BATCH_HEAD_BYTES,
    OutputBatch,
    WantedArtifacts,
)


class LinkShown(Shown):
    name: str
    target: str = Field(description="As the script wrote it: it may lead anywhere")


class FolderShown(Shown):
    name: str
    mode: int = Field(description="Permission bits")


class EntriesShown(Shown):
    links: list[LinkShown]
    folders: list[FolderShown]


def add_routes(app: web.Application) -> None:
    add_operations(app, [put_batch, get_batch, list_entries])


@operation(
    "POST",
    f"{STEP}/artifacts",
    tag="Runner",
    summary="Store a batch of outputs",
    right=RUNNERS,
    accepts="application/octet-stream",
    errors={404: "Step not found", 409: "The attempt has ended"},
)
async def put_batch(request: web.Request, principal: Principal, query: AttemptQuery) -> None:
    """A line of JSON that names files, links and folders; the contents of the files follow."""
    step_id = request.match_info["step_id"]
    step, attempt = await request.app[RUNNER].attempt(principal, step_id, query.epoch)
    if not may_be_reported_on(step, attempt):
        raise Conflict("this attempt has ended", stale=True)
    body = bytearray()
    async for chunk in pieces(request):
        body += chunk
        if len(body) > BATCH_HEAD_BYTES + BATCH_BYTES:
            raise TooLarge(f"send at most {BATCH_BYTES} bytes of files in one batch")
    end = body.find(b"\n")
    if end < 0:
        raise Invalid("a batch begins with a line of JSON")
    try:
        batch = OutputBatch.model_validate_json(bytes(body[:end]))
    except ValidationError as error:
        raise Invalid(f"the batch's first line: {error.errors()[0]['msg']}") from error
    refuse_unstorable(batch, "first line")
    await request.app[OUTPUT_BATCHES].store(step, attempt, batch, memoryview(body)[end + 1 :])


@operation(
    "POST",
    f"{STEP}/inputs",
    tag="Runner",
    summary="Fetch a batch of a dependency's artifacts",
    right=RUNNERS,
    produces="application/octet-stream",
    errors={404: "Step or artifact not found", 409: "The hand-out is no longer the caller's"},
)
async def get_batch(
    request: web.Request, principal: Principal, query: AttemptQuery, body: WantedArtifacts
) -> web.StreamResponse:
    """Their contents in the order of the names, with nothing between them."""
    await request.app[RUNNER].attempt(principal, request.match_info["step_id"], query.epoch)
    wanted = await request.app[OUTPUT_BATCHES].wanted(principal, body)
    response = web.StreamResponse()
    response.content_type = "application/octet-stream"
    response.content_length = wanted.size
    await response.prepare(request)
    return await sent(request, response, wanted.contents())


@operation(
    "GET",
    "/api/steps/{step_id}/outputs",
    tag="Steps",
    summary="List the links and folders among a step's outputs",
    right=READERS,
    errors={404: "Step not found"},
)
async def list_entries(request: web.Request, principal: Principal) -> EntriesShown:
    """Its files are listed as artifacts."""
    step_id = request.match_info["step_id"]
    entries = await request.app[OUTPUT_BATCHES].entries_of(principal, step_id)
    links = [LinkShown(name=one.name, target=one.target) for one in entries if one.target]
    folders = [FolderShown(name=one.name, mode=one.mode) for one in entries if not one.target]
    return EntriesShown(links=links, folders=folders)
