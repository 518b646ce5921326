"""kill -9 of a real coordinator between a build's state, its status, and the record of that."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from joserfc.jwk import RSAKey

from tests.e2e.processes import Pushrod, running
from tests.integration.coordinator_fixture import eventually

SETTINGS = "allow_http_repositories = true\nallow_private_addresses = true\n"
STEP = {
    "name": "test",
    "imageSlug": "any",
    "dependsOn": [],
    "runScript": "true",
    "cacheDirs": [],
    "outputPaths": [],
}
WORKFLOW = {"name": "ci", "steps": [STEP]}
COMMIT = "a" * 40


@dataclass(slots=True)
class GitHub:
    """As an App sees it: check runs, of which nothing is forgotten."""

    url: str = ""
    runs: list[dict[str, Any]] = field(default_factory=list)
    made: asyncio.Event = field(default_factory=asyncio.Event)
    answers: bool = False
    """Else what was asked is done, and no answer comes."""
    changed: int = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        path = request.path.removeprefix("/api/v3")
        if path.endswith("/installation"):
            return web.json_response({"id": 5})
        if path.endswith("/access_tokens"):
            return web.json_response({"token": "installation"}, status=201)
        if request.method == "GET":
            return web.json_response({"check_runs": self.runs[::-1]})
        body = await request.json()
        if request.method == "POST":
            self.runs.append({"id": 1 + len(self.runs), **body})
        else:
            self.changed += 1
            self.runs[int(path.rpartition("/")[2]) - 1].update(body)
        self.made.set()
        if not self.answers:
            await asyncio.Event().wait()
        return web.json_response({"id": len(self.runs)}, status=201)


@pytest.fixture
async def github() -> AsyncIterator[GitHub]:
    github = GitHub()
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", github.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    github.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield github
    finally:
        await runner.cleanup()


async def test_a_check_run_that_github_made_before_the_kill_is_found_and_changed(
    github: GitHub, tmp_path: Path
) -> None:
    with running(tmp_path / "pushrod", agents=0, settings=SETTINGS) as pushrod:
        project = await asyncio.to_thread(_told_by_an_app, pushrod, github)
        build = await asyncio.to_thread(_build, pushrod, project)
        await asyncio.wait_for(github.made.wait(), 60)
        pushrod.coordinator.kill()
        github.answers = True
        await asyncio.to_thread(pushrod.restart_coordinator)
        outbox = f"/api/projects/{project}/outbox"

        async def all_told() -> bool:
            told = (await asyncio.to_thread(pushrod.api.get, outbox))["messages"]
            return all(one["state"] != "waiting" for one in told)

        await eventually(all_told)
    [run] = github.runs
    assert run["external_id"] == build
    assert github.changed


def _told_by_an_app(pushrod: Pushrod, github: GitHub) -> str:
    body = {"accountId": "default", "name": "shop", "repoUrl": f"{github.url}/shop/site.git"}
    project = str(pushrod.api.post("/api/projects", body)["id"])
    key = RSAKey.generate_key(2048).as_pem(private=True).decode()
    wanted = {"appId": 77, "appKey": key, "forge": "github", "url": github.url}
    status, answer, _ = pushrod.api.request(
        "PUT", f"/api/projects/{project}/forge-token", json.dumps(wanted).encode()
    )
    assert status == 200, answer
    return project


def _build(pushrod: Pushrod, project: str) -> str:
    """Of a commit that the API names."""
    workflow = pushrod.api.post(f"/api/projects/{project}/workflows", WORKFLOW)["id"]
    wanted = {"workflowId": workflow, "branch": "main", "commitHash": COMMIT}
    return str(pushrod.api.post(f"/api/projects/{project}/builds", wanted)["id"])
