"""A server that takes statuses of commits as the forges' documents say, and may be in trouble."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.integration.coordinator_fixture import eventually
from tests.integration.hook_forge import HookForge

TOKEN = "forge-token-0123456789"

PATHS = {
    "github": r"/api/v3/repos/(?P<repository>.+)/statuses/(?P<commit>[0-9a-f]{40})",
    "gitlab": r"/api/v4/projects/(?P<repository>[^/]+)/statuses/(?P<commit>[0-9a-f]{40})",
    "gitea": r"/api/v1/repos/(?P<repository>.+)/statuses/(?P<commit>[0-9a-f]{40})",
    "bitbucket": r"/2.0/repositories/(?P<repository>.+)/commit/(?P<commit>[0-9a-f]{40})"
    r"/statuses/build",
    "bitbucket-server": r"/rest/api/latest/projects/(?P<repository>.+)/commits/"
    r"(?P<commit>[0-9a-f]{40})/builds",
}
AUTHORIZATION = {
    "github": ("Authorization", f"Bearer {TOKEN}"),
    "gitlab": ("PRIVATE-TOKEN", TOKEN),
    "gitea": ("Authorization", f"token {TOKEN}"),
    "bitbucket": ("Authorization", f"Bearer {TOKEN}"),
    "bitbucket-server": ("Authorization", f"Bearer {TOKEN}"),
}
UNKNOWN = {"github": 422, "gitlab": 404, "gitea": 500, "bitbucket": 404, "bitbucket-server": 404}
"""What a status of a commit that isn't there is answered."""
STATES = {
    "github": {"pending", "success", "failure", "error"},
    "gitlab": {"pending", "running", "success", "failed", "canceled"},
    "gitea": {"pending", "success", "failure", "error"},
    "bitbucket": {"INPROGRESS", "SUCCESSFUL", "FAILED", "STOPPED"},
    "bitbucket-server": {"INPROGRESS", "SUCCESSFUL", "FAILED", "CANCELLED"},
}
LINK = {"github": "target_url", "gitlab": "target_url", "gitea": "target_url"}
NAME = {"github": "context", "gitlab": "name", "gitea": "context"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    repository: str
    commit: str
    context: str
    state: str
    words: str
    link: str


@dataclass(slots=True)
class StatusForge:
    kind: str
    url: str = ""
    taken: list[Taken] = field(default_factory=list)
    requests: int = 0
    trouble: Callable[[], web.Response] | None = None
    """Answers instead of us."""
    hangs: bool = False
    """No answer comes; what was asked is done."""
    may_set: bool = True
    """The token has the right to set statuses."""
    hooks: HookForge = field(init=False)

    def __post_init__(self) -> None:
        self.hooks = HookForge(self.kind, *AUTHORIZATION[self.kind])

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        if self.trouble is not None:
            return self.trouble()
        if (answer := await self.hooks.handle(request)) is not None:
            return answer
        found = re.fullmatch(PATHS[self.kind], request.rel_url.raw_path)
        if found is None or request.method != "POST":
            return web.json_response({"message": f"no {request.path}"}, status=404)
        name, value = AUTHORIZATION[self.kind]
        if request.headers.get(name) != value:
            return web.json_response({"message": "Bad credentials"}, status=401)
        if not self.may_set:
            return web.json_response({"message": "no right"}, status=403)
        body = await request.json()
        if found["commit"] == "0" * 40:
            return web.json_response({"message": "no such commit"}, status=UNKNOWN[self.kind])
        if (fault := self._fault(body)) is not None:
            return web.json_response({"message": fault}, status=422)
        self.taken.append(
            Taken(
                repository=found["repository"],
                commit=found["commit"],
                context=body[NAME.get(self.kind, "name")],
                state=body["state"],
                words=body["description"],
                link=body[LINK.get(self.kind, "url")],
            )
        )
        if self.hangs:
            await asyncio.Event().wait()
        return web.json_response(body, status=201)

    def _fault(self, body: Mapping[str, Any]) -> str | None:
        if body["state"] not in STATES[self.kind]:
            return f"no state {body['state']}"
        longest = 140 if self.kind == "github" else 255
        if len(body["description"]) > longest:
            return "description is too long"
        if self.kind == "bitbucket" and len(body["key"]) > 40:
            return "key is too long"
        return None

    def states(self, context: str | None = None) -> list[str]:
        return [one.state for one in self.taken if context in (None, one.context)]

    async def until(self, *states: str, context: str | None = None) -> None:
        """These came last, in this order."""

        async def look() -> bool:
            return self.states(context)[-len(states) :] == list(states)

        await eventually(look)


@asynccontextmanager
async def open_status_forge(kind: str = "github") -> AsyncIterator[StatusForge]:
    forge = StatusForge(kind)
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", forge.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    forge.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield forge
    finally:
        await runner.cleanup()
