"""A coordinator for the page alone: its JSON answers, held requests included, from plain values.

For states that a real build reaches seldom or slowly: a 20 MB log, a second attempt, a workflow
with mistakes, a server that is away. `test_page_with_coordinator.py` drives the real one.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from coordinator.web.pages import add_routes

TOKEN = "the-right-token"
MAX_LOG_ANSWER = 4 * 1024 * 1024


@dataclass
class Log:
    data: bytes = b""
    complete: bool = False


@dataclass
class FakeApi:
    projects: list[dict[str, Any]] = field(default_factory=list)
    builds: list[dict[str, Any]] = field(default_factory=list)
    """Newest first, with `steps`, `version` and `problems`."""
    logs: dict[tuple[str, int], Log] = field(default_factory=dict)
    artifacts: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    results: list[dict[str, Any]] = field(default_factory=list)
    """Of the steps of every build."""
    tests: list[dict[str, Any]] = field(default_factory=list)
    """Their failed ones."""
    whys: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Why steps with `inputs` ran, by their ids."""
    signed_in: bool = True
    person: dict[str, Any] = field(
        default_factory=lambda: {"name": "ada", "rights": ["build", "manage", "read"]}
    )
    """As `GET /api/session` answers."""
    away: bool = False
    """Answer 503 to everything, as a proxy does while the coordinator restarts."""
    requests: list[str] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def change(self, mutate: Callable[[], None]) -> None:
        """Change something; whoever holds a request looks again."""
        async with self.changed:
            mutate()
            self.changed.notify_all()

    async def update_build(self, build: dict[str, Any], **changes: Any) -> None:
        await self.change(lambda: build.update(changes, version=build["version"] + 1))

    async def update_step(self, build: dict[str, Any], name: str, **changes: Any) -> None:
        step = next(step for step in build["steps"] if step["name"] == name)

        def update() -> None:
            step.update(changes)
            build["version"] += 1

        await self.change(update)

    async def append_log(
        self, step_id: str, attempt: int, data: bytes, *, complete: bool = False
    ) -> None:
        log = self.logs.setdefault((step_id, attempt), Log())

        def append() -> None:
            log.data += data
            log.complete = complete

        await self.change(append)

    async def held(self, request: web.Request, ready: Callable[[], bool]) -> None:
        seconds = float(request.query.get("wait", 0))
        try:
            async with asyncio.timeout(seconds), self.changed:
                await self.changed.wait_for(ready)
        except TimeoutError:
            pass


def make_app(api: FakeApi) -> web.Application:
    app = web.Application(middlewares=[_gate(api)])
    add_routes(app)
    app.add_routes(
        [
            web.get("/api/session", partial(_session, api)),
            web.get("/api/overview", partial(_overview, api)),
            web.get("/api/projects/{id}", partial(_project, api)),
            web.get("/api/projects/{id}/builds", partial(_builds, api)),
            web.get("/api/projects/{id}/builds/{build}", partial(_build, api)),
            web.post("/api/projects/{id}/builds/{build}/cancel", partial(_cancel, api)),
            web.post("/api/projects/{id}/builds/{build}/retry", partial(_retry, api)),
            web.get("/api/steps/{id}/log", partial(_log, api)),
            web.get("/api/steps/{id}/artifacts", partial(_artifacts, api)),
            web.get("/api/steps/{id}/why", partial(_why, api)),
            web.get("/api/projects/-/builds/{id}/results", partial(_results, api)),
            web.get("/api/projects/-/builds/{id}/tests", partial(_tests, api)),
            web.post("/login", partial(_login, api)),
            web.post("/logout", partial(_logout, api)),
        ]
    )
    return app


@asynccontextmanager
async def serving(api: FakeApi, port: int = 0) -> AsyncIterator[str]:
    """The address at which the page and the answers of `api` are served."""
    runner = web.AppRunner(make_app(api), shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def _gate(api: FakeApi) -> Middleware:
    @web.middleware
    async def gate(request: web.Request, handler: Handler) -> web.StreamResponse:
        api.requests.append(request.path_qs)
        if not request.path.startswith("/api/"):
            return await handler(request)
        if api.away:
            return web.json_response({"error": "away"}, status=503)
        if not api.signed_in:
            return web.json_response({"error": "sign in"}, status=401)
        return await handler(request)

    return gate


async def _session(api: FakeApi, request: web.Request) -> web.Response:
    return web.json_response(api.person)


async def _overview(api: FakeApi, request: web.Request) -> web.Response:
    account = request.query.get("accountId")
    projects = [one for one in api.projects if account in (None, one["accountId"])]
    ids = {one["id"] for one in projects}
    builds = [one for one in api.builds if one["projectId"] in ids]

    def last_build(project: dict[str, Any]) -> dict[str, Any]:
        of_it = [_shown(build) for build in api.builds if build["projectId"] == project["id"]]
        return {"lastBuild": of_it[0]} if of_it else {}

    return web.json_response(
        {
            "projects": [{**project, **last_build(project)} for project in projects],
            "builds": [_shown(build) for build in builds[:20]],
        }
    )


def _shown(build: dict[str, Any]) -> dict[str, Any]:
    """As in a list."""
    return {name: value for name, value in build.items() if name != "steps"}


async def _project(api: FakeApi, request: web.Request) -> web.Response:
    return web.json_response(_find(api.projects, request.match_info["id"]))


def _find(things: list[dict[str, Any]], id_: str) -> dict[str, Any]:
    for thing in things:
        if thing["id"] == id_:
            return thing
    raise web.HTTPNotFound(text='{"error": "there is none"}', content_type="application/json")


async def _builds(api: FakeApi, request: web.Request) -> web.Response:
    project = request.match_info["id"]
    found = [b for b in api.builds if project in ("-", b["projectId"])]
    limit, offset = int(request.query.get("limit", 20)), int(request.query.get("offset", 0))
    page = [_shown(build) for build in found[offset : offset + limit]]
    more = offset + limit < len(found)
    pagination = {"total": len(found), "limit": limit, "offset": offset, "hasMore": more}
    return web.json_response({"builds": page, "pagination": pagination})


async def _build(api: FakeApi, request: web.Request) -> web.Response:
    build = _find(api.builds, request.match_info["build"])
    if "seen" in request.query:
        await api.held(request, lambda: str(build["version"]) != request.query["seen"])
    return web.json_response(build)


async def _cancel(api: FakeApi, request: web.Request) -> web.Response:
    build = _find(api.builds, request.match_info["build"])
    if build["state"] not in ("queued", "running"):
        return web.json_response({"error": "the build has finished"}, status=409)
    await api.update_build(build, state="cancelled", finishedAt=build["createdAt"])
    return web.json_response(build)


async def _retry(api: FakeApi, request: web.Request) -> web.Response:
    old = _find(api.builds, request.match_info["build"])
    new = {**old, "id": old["id"] + "-again", "number": old["number"] + 1, "retryOf": old["id"]}
    api.builds.insert(0, new)
    return web.json_response(new, status=201)


async def _log(api: FakeApi, request: web.Request) -> web.Response:
    attempt = int(request.query["attempt"])
    log = api.logs.setdefault((request.match_info["id"], attempt), Log())
    headers = {"Log-Attempt": str(attempt), "Content-Type": "text/plain; charset=utf-8"}
    status = 200
    size = len(log.data)
    start, end = int(request.query.get("offset", 0)), size
    if match := re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("Range", "")):
        first, last = match.groups()
        start = int(first) if first else max(0, size - int(last))
        end = min(size, int(last) + 1) if first and last else size
        if start >= size:
            headers |= {"Content-Range": f"bytes */{size}", "Log-Next-Offset": str(size)}
            headers["Log-Complete"] = str(log.complete).lower()
            return web.Response(status=416, headers=headers)
        status = 206
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    elif "wait" in request.query:
        await api.held(request, lambda: len(log.data) > start or log.complete)
        end = len(log.data)
    body = log.data[start : min(end, start + MAX_LOG_ANSWER)]
    headers["Log-Next-Offset"] = str(start + len(body))
    headers["Log-Size"] = str(size)
    headers["Log-Complete"] = str(log.complete).lower()
    return web.Response(status=status, body=body, headers=headers)


async def _why(api: FakeApi, request: web.Request) -> web.Response:
    return web.json_response(api.whys[request.match_info["id"]])


async def _results(api: FakeApi, request: web.Request) -> web.Response:
    return web.json_response({"steps": api.results})


async def _tests(api: FakeApi, request: web.Request) -> web.Response:
    shown = api.tests[: int(request.query["limit"])]
    return web.json_response({"tests": shown, "pagination": {"total": len(api.tests)}})


async def _artifacts(api: FakeApi, request: web.Request) -> web.Response:
    return web.json_response(api.artifacts.get(request.match_info["id"], []))


async def _login(api: FakeApi, request: web.Request) -> web.Response:
    form = await request.post()
    next_path = str(form["next"])
    wrong = "password" if "email" in form else "token"
    if form[wrong] != TOKEN:
        url = request.rel_url.with_path("/login").with_query({"error": wrong, "next": next_path})
        raise web.HTTPSeeOther(url)
    api.signed_in = True
    raise web.HTTPSeeOther(next_path)


async def _logout(api: FakeApi, request: web.Request) -> web.Response:
    api.signed_in = False
    raise web.HTTPSeeOther("/login")
