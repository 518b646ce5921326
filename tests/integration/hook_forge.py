"""The part of a forge that makes and tells webhooks, as each one's documents say."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from aiohttp import web

REPOSITORY = {
    "github": r"/api/v3/repos/[^/]+/[^/]+/hooks",
    "gitlab": r"/api/v4/projects/[^/]+/hooks",
    "gitea": r"/api/v1/repos/[^/]+/[^/]+/hooks",
    "bitbucket": r"/2.0/repositories/[^/]+/[^/]+/hooks",
    "bitbucket-server": r"/rest/api/latest/projects/[^/]+/repos/[^/]+/webhooks",
}
CHANGES = {"github": "PATCH", "gitlab": "PUT", "bitbucket": "PUT", "bitbucket-server": "PUT"}
"""Gitea's leaves the secret as it was, so none is wanted of it."""


@dataclass(slots=True)
class HookForge:
    kind: str
    header: str
    value: str
    kept: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By id, as they were sent."""
    may: bool = True
    """The token has the right."""
    fault: str | None = None
    """Of the last delivery."""
    made: int = 0

    async def handle(self, request: web.Request) -> web.StreamResponse | None:
        """None: this is about something else."""
        found = re.fullmatch(
            REPOSITORY[self.kind] + r"(?:/(?P<id>[^/]+))?(?P<last>/latest|/events)?",
            request.rel_url.raw_path,
        )
        if found is None:
            return None
        if request.headers.get(self.header) != self.value:
            return web.json_response({"message": "Bad credentials"}, status=401)
        if not self.may:
            return web.json_response({"message": "Must have admin rights"}, status=403)
        if found["last"]:
            return self._last()
        return await self._answer(request, unquote(found["id"] or ""))

    async def _answer(self, request: web.Request, hook_id: str) -> web.StreamResponse:
        known = self.kept.get(hook_id)
        if request.method == "GET":
            told = [self._told(hook_id, hook) for hook_id, hook in self.kept.items()]
            paged = self.kind.startswith("bitbucket")
            return await _in_two_pieces(request, {"values": told} if paged else told)
        if request.method == "POST":
            self.made += 1
            name = f"{{{self.made}}}" if self.kind == "bitbucket" else str(self.made)
            self.kept[name] = await request.json()
            return web.json_response(self._told(name, self.kept[name]), status=201)
        if known is not None and request.method == "DELETE":
            del self.kept[hook_id]
            return web.Response(status=204)
        if known is not None and request.method == CHANGES.get(self.kind):
            known.update(await request.json())
            return web.json_response(self._told(hook_id, known))
        return web.json_response({"message": "Not Found"}, status=404)

    def _told(self, hook_id: str, hook: dict[str, Any]) -> dict[str, Any]:
        """Secrets are never told."""
        told = {name: value for name, value in hook.items() if name not in ("secret", "token")}
        if "config" in told:
            told["config"] = told["config"] | {"secret": "********"}
        if self.kind == "github":
            code = None if self.fault is None else 500
            told["last_response"] = {"code": code, "status": "unused", "message": self.fault}
        name = "uuid" if self.kind == "bitbucket" else "id"
        number = hook_id if self.kind == "bitbucket" else int(hook_id)
        return told | {name: number}

    def _last(self) -> web.Response:
        if self.kind == "gitlab":
            return web.json_response([{"id": 1, "response_status": self.fault or "200"}])
        outcome = "FAILURE" if self.fault else "SUCCESS"
        return web.json_response(
            {"id": 1, "result": {"description": self.fault or "200", "outcome": outcome}}
        )

    @property
    def one(self) -> dict[str, Any]:
        [hook] = self.kept.values()
        return hook

    @property
    def url(self) -> str:
        return str((self.one.get("config") or self.one)["url"])

    @property
    def secret(self) -> str:
        hook = self.one.get("config") or self.one.get("configuration") or self.one
        return str(hook.get("secret") or hook.get("token"))

    def damage(self) -> None:
        """It has another address of ours, and lacks events."""
        where = self.one.get("config") or self.one
        where["url"] = "http://old.example" + urlsplit(where["url"]).path
        if self.kind == "gitlab":
            self.one["merge_requests_events"] = False
        else:
            self.one["events"] = self.one["events"][:1]
            self.one["active"] = False


async def _in_two_pieces(request: web.Request, answer: object) -> web.StreamResponse:
    """As a long one comes over a network."""
    body = json.dumps(answer).encode()
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    await asyncio.sleep(0.05)
    await response.write(body[len(body) // 2 :])
    await response.write_eof()
    return response
