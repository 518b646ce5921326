"""`/healthz` says whether the process lives, `/readyz` whether it can do its work.

Neither asks for a token: what starts, stops and balances coordinators has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from aiohttp import web

from coordinator.api.http.context import HEALTH
from coordinator.api.http.fields import Shown
from coordinator.api.http.operations import add_operations, operation
from coordinator.services.upkeep.health import OK


class Readiness(Shown):
    status: Literal["ready", "not ready"]
    checks: dict[str, str]
    """`disk`, `database`, `git`, and `objects` of a bucket: `ok`, or what is wrong."""


def add_routes(app: web.Application) -> None:
    app.router.add_get("/healthz", live)
    add_operations(app, [ready])


async def live(request: web.Request) -> web.Response:
    """200 for as long as requests are answered: what restarts a process looks here, and no restart
    mends a full disk. What is wrong is told all the same."""
    wrong = _wrong(await request.app[HEALTH].checks())
    return web.Response(text=f"alive, but {wrong}\n" if wrong else "ok\n")


@operation(
    "GET",
    "/readyz",
    tag="Operations",
    summary="Ask whether this coordinator can do its work",
    secured=False,
    errors={503: "It can't: `checks` says why"},
    returns=Readiness,
)
async def ready(request: web.Request) -> web.StreamResponse:
    checks = dict(await request.app[HEALTH].checks())
    wrong = bool(_wrong(checks))
    readiness = Readiness(status="not ready" if wrong else "ready", checks=checks)
    return readiness.answer(503 if wrong else 200)


def _wrong(checks: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {words}" for name, words in checks.items() if words != OK)
