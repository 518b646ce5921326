"""Results that were come to on a laptop."""

from __future__ import annotations

from aiohttp import web
from pydantic import ValidationError

from coordinator.api.http.bodies import pieces
from coordinator.api.http.context import LAPTOP_RESULTS, project_of
from coordinator.api.http.operations import add_operations, operation
from coordinator.domain.errors import Invalid
from coordinator.domain.people.permissions import Principal, Right
from coordinator.services.builds.sent_body import SentBody
from pipelines_schema.contract_laptop import MAX_HEAD_BYTES, RunTaken, SentRun


def add_routes(app: web.Application) -> None:
    add_operations(app, [send_results])


@operation(
    "POST",
    "/api/projects/{project_id}/laptop-results",
    tag="Steps",
    summary="Send what `pushrod run` has come to",
    right=Right.BUILD,
    accepts="application/octet-stream",
    errors={404: "Project not found", 409: "The project is archived"},
)
async def send_results(request: web.Request, principal: Principal) -> RunTaken:
    """A line of JSON that describes steps with `inputs` that have succeeded; the logs and files of
    each follow. Builds of branches take these results where all that counts is equal, never those
    of the default branch, of tags or of forks. All of it is stored or nothing; what is known
    already is passed over."""
    project = await project_of(request, principal)
    body = SentBody(pieces(request))
    head = await body.line(MAX_HEAD_BYTES)
    try:
        run = SentRun.model_validate_json(head)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise Invalid(f"the first line: {place}: {first['msg']}") from error
    return await request.app[LAPTOP_RESULTS].take(principal, project, run, body)
