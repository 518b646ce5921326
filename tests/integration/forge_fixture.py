"""A forge: a second git server on loopback, which may ask for a password, be away or redirect."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import io
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from aiohttp import web

from coordinator.git.repositories import HostedRepositories
from coordinator.git.smart_http import GitHttpBackend
from tests.integration.coordinator_fixture import (
    GIT_ENVIRONMENT,
    Answer,
    Coordinator,
    WorkTree,
)


@dataclass(slots=True)
class Forge:
    """Repositories by id below `url`; `authorization` is what a fetch must send, if anything."""

    root: Path
    backend: GitHttpBackend
    repositories: HostedRepositories
    url: str = ""
    authorization: str | None = None
    status: int | None = None
    """Answered to everything, for a forge in trouble."""
    redirect: str | None = None
    asked: list[str | None] = field(default_factory=list)
    """The Authorization header of each request."""
    lfs_objects: dict[str, bytes] = field(default_factory=dict)
    """Content by oid, of all repositories."""
    lfs_storage: str | None = None
    """Where the batch answer sends downloads to, if not here."""
    lfs_asked: list[tuple[str, str | None]] = field(default_factory=list)
    """Method and Authorization header of each LFS request."""

    def require(self, user: str, token: str) -> None:
        pair = base64.b64encode(f"{user}:{token}".encode()).decode()
        self.authorization = f"Basic {pair}"

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.headers.get("Authorization"))
        if self.redirect is not None:
            raise web.HTTPFound(self.redirect + request.path_qs)
        if self.status is not None:
            return web.Response(status=self.status)
        if self.authorization not in (None, request.headers.get("Authorization")):
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="forge"'})
        project_id = request.match_info["id"]
        if request.method == "GET":
            service = request.query.get("service", "")
            return await self.backend.info_refs(request, project_id, service)
        service = request.match_info["rest"]
        return await self.backend.rpc(request, project_id, service, env_user="anna")

    async def lfs_batch(self, request: web.Request) -> web.Response:
        self.lfs_asked.append(("POST", request.headers.get("Authorization")))
        if self.authorization not in (None, request.headers.get("Authorization")):
            return web.Response(status=401)
        wanted = await request.json()
        base = self.lfs_storage or f"{self.url}/lfs"
        return web.json_response(
            {"objects": [self._lfs_answer(base, item) for item in wanted["objects"]]},
            content_type="application/vnd.git-lfs+json",
        )

    def _lfs_answer(self, base: str, item: Mapping[str, Any]) -> dict[str, Any]:
        if item["oid"] not in self.lfs_objects:
            return {**item, "error": {"code": 404, "message": "Object does not exist"}}
        header = {"X-Signed": "yes"}
        href = f"{base}/{item['oid']}?signature=1%2F2"
        return {**item, "actions": {"download": {"href": href, "header": header}}}

    async def lfs_object(self, request: web.Request) -> web.Response:
        authorization = request.headers.get("Authorization")
        self.lfs_asked.append(("GET", authorization))
        # A signed URL holds as it was given alone, to the last escape.
        signed = request.rel_url.raw_query_string == "signature=1%2F2"
        if not signed or request.headers.get("X-Signed") != "yes":
            return web.Response(status=403)
        if self.redirect is not None:
            raise web.HTTPFound(self.redirect)
        if self.authorization not in (None, authorization):
            return web.Response(status=401)
        return web.Response(body=self.lfs_objects[request.match_info["oid"]])

    async def new_repository(self, folder: Path) -> Repository:
        repository_id = str(uuid4())
        await self.repositories.create(repository_id)
        path = self.repositories.path(repository_id)
        folder.mkdir()
        tree = WorkTree(folder, GIT_ENVIRONMENT)
        await tree.git("init", "-q", "-b", "main")
        await tree.git("remote", "add", "origin", str(path))
        return Repository(self, f"{self.url}/{repository_id}.git", path, tree)


@dataclass(slots=True)
class Repository:
    forge: Forge
    url: str
    path: Path
    tree: WorkTree

    async def push(
        self, files: Mapping[str, str], message: str = "change", ref: str = "main"
    ) -> str:
        """Commit, push to `ref` by force, and return the commit."""
        sha = await self.tree.commit(files, message)
        await self.tree.git("push", "-q", "-f", "origin", f"HEAD:{ref}")
        return sha


@asynccontextmanager
async def open_forge(folder: Path) -> AsyncIterator[Forge]:
    root = folder / "forge"
    root.mkdir()
    forge = Forge(root, GitHttpBackend(root, max_processes=4), HostedRepositories(root))
    app = web.Application()
    app.router.add_get("/{id}.git/info/refs", forge.handle)
    app.router.add_post("/{id}.git/{rest}", forge.handle)
    app.router.add_post("/{id}.git/info/lfs/objects/batch", forge.lfs_batch)
    app.router.add_get("/lfs/{oid}", forge.lfs_object)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    forge.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield forge
    finally:
        await runner.cleanup()
        await forge.backend.close()


def signature(secret: str, body: bytes) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def signed_headers(
    forge: str, event: str, secret: str, body: bytes, delivery: str
) -> Mapping[str, str]:
    """What each forge sends with a body."""
    signed = signature(secret, body)
    return {
        "bitbucket": {
            "X-Event-Key": event,
            "X-Request-UUID": delivery,
            "X-Hub-Signature": signed,
        },
        "generic": {"X-Pushrod-Delivery": delivery, "X-Pushrod-Signature-256": signed},
        "gitea": {
            "X-Gitea-Event": event,
            "X-GitHub-Event": event,
            "X-Gitea-Delivery": delivery,
            "X-Gitea-Signature": signed.removeprefix("sha256="),
            "X-Hub-Signature-256": signed,
        },
        "github": {
            "X-GitHub-Event": event,
            "X-GitHub-Delivery": delivery,
            "X-Hub-Signature-256": signed,
        },
        "gitlab": {
            "X-Gitlab-Event": event,
            "Idempotency-Key": delivery,
            "X-Gitlab-Token": secret,
        },
    }[forge]


@dataclass(slots=True)
class Hook:
    """A project's webhook, as a forge calls it."""

    coordinator: Coordinator
    project: Mapping[str, Any]

    async def github(
        self,
        event: str,
        payload: object,
        *,
        delivery: str | None = None,
        headers: Mapping[str, str] | None = None,
        wait: int = 8,
    ) -> Answer:
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        return await self.send(
            "github", event, body, delivery=delivery or "", headers=headers, wait=wait
        )

    async def generic(
        self,
        payload: object,
        *,
        delivery: str | None = None,
        headers: Mapping[str, str] | None = None,
        wait: int = 8,
    ) -> Answer:
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        return await self.send(
            "generic", "", body, delivery=delivery or "", headers=headers, wait=wait
        )

    async def send(
        self,
        forge: str,
        event: str,
        body: bytes,
        *,
        to: str | None = None,
        delivery: str = "",
        headers: Mapping[str, str] | None = None,
        wait: int = 8,
    ) -> Answer:
        """As that forge does, to its own address or another forge's."""
        signed = signed_headers(
            forge, event, self.project["webhookSecret"], body, delivery or str(uuid4())
        )
        return await self.coordinator.nobody.call(
            "POST",
            f"/api/webhooks/{to or forge}/{self.project['id']}?wait={wait}",
            data=io.BytesIO(body),
            headers={"Content-Type": "application/json", **signed, **(headers or {})},
        )

    async def deliveries(self) -> list[dict[str, Any]]:
        answer = await self.coordinator.admin.get(f"/api/projects/{self.project['id']}/deliveries")
        return list(answer.expect(200).json["deliveries"])


def push_payload(
    url: str, after: str | None, *, ref: str = "refs/heads/main", message: str = "m", **more: Any
) -> dict[str, Any]:
    """What of GitHub's push event matters."""
    return {
        "ref": ref,
        "before": "0" * 40,
        "after": after or "0" * 40,
        "deleted": after is None,
        "head_commit": {"id": after, "message": message} if after else None,
        "repository": {"clone_url": url, "html_url": url.removesuffix(".git")},
        **more,
    }


async def remote_project(
    coordinator: Coordinator, url: str, name: str = "remote"
) -> tuple[dict[str, Any], Hook]:
    body = {"accountId": "default", "name": name, "repoUrl": url}
    project = dict((await coordinator.admin.post("/api/projects", body)).expect(201).json)
    return project, Hook(coordinator, project)


async def until_settled(hook: Hook, delivery_id: str) -> dict[str, Any]:
    """The delivery once it no longer waits."""
    async with asyncio.timeout(60):
        while True:
            for delivery in await hook.deliveries():
                if delivery["deliveryId"] == delivery_id and delivery["status"] != "received":
                    return delivery
            await asyncio.sleep(0.05)
