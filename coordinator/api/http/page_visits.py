"""What a browser is answered where a page is not there, or not its visitor's to see."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from aiohttp import web

from coordinator.api.http.context import BUILDS, PROJECTS
from coordinator.api.http.error_shapes import add_error_shape, plain_error
from coordinator.api.http.middleware import principal_of
from coordinator.domain.errors import CoordinatorError, NotFound

MACHINES = ("/api/", "/git/", "/static/")


async def sees(request: web.Request) -> bool:
    """Whether the project or the build that the path names is there for its visitor.

    Who isn't signed in is led to the login by the page, and learns nothing here.
    """
    path = request.match_info
    try:
        principal = await principal_of(request)
        if build_id := path.get("build_id"):
            await request.app[BUILDS].get(principal, None, build_id)
        else:
            await request.app[PROJECTS].get(principal, path["project_id"])
    except NotFound:
        return False
    except CoordinatorError:
        return True
    return True


def answer_browsers(app: web.Application, page: Callable[[int, str], web.Response]) -> None:
    """Errors outside of what machines call are a `page` for whoever accepts HTML."""

    def shape(
        request: web.Request,
        status: int,
        message: str,
        details: Sequence[Mapping[str, object]],
        fields: Mapping[str, object],
    ) -> web.Response:
        if request.path.startswith(MACHINES) or "text/html" not in request.headers.get(
            "Accept", ""
        ):
            return plain_error(request, status, message, details, fields)
        return page(status, message)

    add_error_shape(app, "", shape)
