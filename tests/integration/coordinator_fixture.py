"""A whole coordinator in this process, on a free loopback port, and those who talk to it."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web_app
from yarl import URL

from coordinator.app import run_coordinator
from coordinator.reading.processes import ReadingProcesses
from coordinator.services.core import utc_now
from coordinator.services.steps.leases import boot_seconds
from coordinator.settings import Settings
from coordinator.storage.postgresql import PostgresPlace
from tests.empty_database import put_empty_database
from tests.empty_objects import objects_of, settings_of
from tests.integration.list_fixture import wrong_counts
from tests.ports import free_port
from tests.shared_readings import shared_readings, shared_report_readings

PATIENCE_SECONDS = 60.0
GIT_ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_AUTHOR_NAME": "Anna",
    "GIT_AUTHOR_EMAIL": "anna@example.org",
    "GIT_COMMITTER_NAME": "Anna",
    "GIT_COMMITTER_EMAIL": "anna@example.org",
}
ONE_STEP = "name: ci\non: {push: {}}\nsteps: [{name: test, image: base, run: 'true'}]\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes
    call: tuple[str, str] = ("", "")
    """Method and path."""

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace")

    def expect(self, status: int) -> Answer:
        assert self.status == status, f"{self.status} {self.text[:1000]}"
        note_answer(*self.call, status, expected=True)
        return self


def note_answer(method: str, path: str, status: int, *, expected: bool = False) -> None:
    """For tests/conformance.py, where PUSHROD_ANSWERS names a file."""
    if name := os.environ.get("PUSHROD_ANSWERS"):
        test = re.sub(r"\[.*| \(\w+\)$", "", os.environ["PYTEST_CURRENT_TEST"])
        with Path(name).open("a") as file:
            file.write(f"{method} {status} {test} {int(expected)} {path!r}\n")


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody with a token (or without one)."""

    coordinator: Coordinator
    token: str | None

    async def call(self, method: str, path: str, **options: Any) -> Answer:
        headers = dict(options.pop("headers", {}))
        if self.token is not None:
            headers.setdefault("Authorization", f"Bearer {self.token}")
        # `encoded`: what a test writes is what is sent.
        url = URL(self.coordinator.url + path, encoded=True)
        session = self.coordinator.session
        async with (
            asyncio.timeout(PATIENCE_SECONDS),
            session.request(
                method, url, headers=headers, allow_redirects=False, **options
            ) as response,
        ):
            body = await response.read()
            note_answer(method, url.path, response.status)
            return Answer(
                status=response.status,
                headers=response.headers.copy(),
                body=body,
                call=(method, url.path),
            )

    async def get(self, path: str) -> Answer:
        return await self.call("GET", path)

    async def post(self, path: str, body: object = None) -> Answer:
        data = io.BytesIO(json.dumps({} if body is None else body).encode())
        return await self.call(
            "POST", path, data=data, headers={"Content-Type": "application/json"}
        )

    # What tests do all the time

    async def new_project(self, account: str = "default", name: str = "shop") -> dict[str, Any]:
        answer = await self.post("/api/projects", {"accountId": account, "name": name})
        return dict(answer.expect(201).json)

    async def new_workflow(self, project: Mapping[str, Any], *steps: Mapping[str, Any]) -> str:
        answer = await self.post(
            f"/api/projects/{project['id']}/workflows",
            {"name": "ci", "steps": list(steps) or [step_of("test")]},
        )
        return str(answer.expect(201).json["id"])

    async def new_build(
        self, project: Mapping[str, Any], *steps: Mapping[str, Any], **origin: str
    ) -> dict[str, Any]:
        """A build of a new workflow of these steps, with its steps."""
        workflow_id = await self.new_workflow(project, *steps)
        path = f"/api/projects/{project['id']}/builds"
        answer = await self.post(path, {"workflowId": workflow_id, **origin})
        return await self.build(answer.expect(201).json["id"])

    async def build(self, build_id: str) -> dict[str, Any]:
        answer = await self.get(f"/api/projects/-/builds/{build_id}")
        return dict(answer.expect(200).json)

    async def builds(self, project: Mapping[str, Any]) -> list[dict[str, Any]]:
        answer = await self.get(f"/api/projects/{project['id']}/builds?limit=100")
        return list(answer.expect(200).json["builds"])

    async def new_token(self, **wanted: Any) -> Caller:
        answer = await self.post("/api/tokens", {"name": "somebody", **wanted})
        return Caller(self.coordinator, answer.expect(201).json["token"])

    async def new_agent(self, name: str = "agent", **wanted: Any) -> AgentCaller:
        answer = await self.post("/api/agents/register", {"name": name, **wanted})
        body = answer.expect(201).json
        return AgentCaller(self.coordinator, body["token"], body["agentId"])


@dataclass(frozen=True, slots=True)
class AgentCaller(Caller):
    agent_id: str

    async def poll(self, free: int = 1, **request: Any) -> dict[str, Any]:
        answer = await self.post("/api/agents/poll", {"free": free, **request})
        return dict(answer.expect(200).json)

    async def accept(self, offer: Mapping[str, Any]) -> Answer:
        return await self.post(f"/api/runner/{offer['stepId']}/accept", {"epoch": offer["epoch"]})

    async def renew(self, *leases: Mapping[str, Any]) -> dict[str, Any]:
        answer = await self.post("/api/agents/renew", {"leases": [lease_of(x) for x in leases]})
        return dict(answer.expect(200).json)

    async def take(self, **request: Any) -> dict[str, Any]:
        """Poll until there is one offer and accept it; the step's spec."""
        while not (offers := (await self.poll(**request))["offers"]):
            pass
        [offer] = offers
        return dict((await self.accept(offer)).expect(200).json)

    async def complete(self, spec: Mapping[str, Any], **body: Any) -> Answer:
        return await self.post(
            f"/api/runner/{spec['stepId']}/complete",
            {"status": "success", "exitCode": 0, "epoch": spec["epoch"], **body},
        )

    async def append(self, spec: Mapping[str, Any], offset: int, text: bytes) -> Answer:
        return await self.call(
            "PATCH",
            f"/api/runner/{spec['stepId']}/log?epoch={spec['epoch']}",
            data=io.BytesIO(text),
            headers={"Upload-Offset": str(offset), "Content-Type": "text/plain"},
        )

    async def upload(
        self, spec: Mapping[str, Any], name: str, body: bytes | io.BytesIO, **options: Any
    ) -> Answer:
        query = options.pop("query", "")
        return await self.call(
            "PUT",
            f"/api/runner/{spec['stepId']}/artifacts/{name}?epoch={spec['epoch']}{query}",
            data=body,
            **options,
        )


def lease_of(spec: Mapping[str, Any]) -> dict[str, Any]:
    return {"stepId": spec["stepId"], "epoch": spec["epoch"]}


def step_of(name: str, *depends_on: str, **more: Any) -> dict[str, Any]:
    """A step as 003 has it."""
    return {
        "name": name,
        "imageSlug": "base",
        "dependsOn": list(depends_on),
        "runScript": "true",
        "cacheDirs": [],
        "outputPaths": [],
        **more,
    }


@dataclass(slots=True)
class Coordinator:
    """`await start()`, talk to it, `await stop()`; it may be started again over the same data."""

    data: Path
    settings: Mapping[str, Any]
    session: aiohttp.ClientSession
    port: int
    clock: Callable[[], float] = boot_seconds
    """Of offers and leases."""
    now: Callable[[], datetime] = utc_now
    readings: ReadingProcesses = field(default_factory=shared_readings)
    report_readings: ReadingProcesses = field(default_factory=shared_report_readings)
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        settings = Settings(data=self.data, listen=f"127.0.0.1:{self.port}", **self.settings)
        ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._stop = asyncio.Event()
        self._task = asyncio.create_task(
            run_coordinator(
                settings,
                ready=ready.set_result,
                stop=self._stop,
                clock=self.clock,
                now=self.now,
                readings=self.readings,
                report_readings=self.report_readings,
            )
        )
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.wait([ready, self._task], return_when=asyncio.FIRST_COMPLETED)
        if self._task.done():
            await self._task

    @property
    def url(self) -> str:
        """Where it listens; its public_url may be another."""
        return f"http://127.0.0.1:{self.port}"

    async def stop(self) -> None:
        self._stop.set()
        if self._task is not None:
            await self._task
            self._task = None

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def exchange(self, sent: bytes) -> bytes:
        """All that it answers to these bytes, until it closes the connection itself."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                writer.write(sent)
                return await reader.read()
        finally:
            writer.close()

    @property
    def admin(self) -> Caller:
        return Caller(self, (self.data / "admin-token").read_text().strip())

    @property
    def nobody(self) -> Caller:
        return Caller(self, None)

    def repository(self, project: Mapping[str, Any]) -> Path:
        return self.data / "repositories" / f"{project['id']}.git"

    def push_environment(self, caller: Caller) -> dict[str, str]:
        return GIT_ENVIRONMENT | {
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "http.extraHeader",
            "GIT_CONFIG_VALUE_0": f"Authorization: Bearer {caller.token}",
        }


@asynccontextmanager
async def open_coordinator(
    folder: Path,
    *,
    clock: Callable[[], float] = boot_seconds,
    now: Callable[[], datetime] = utc_now,
    **settings: Any,
) -> AsyncIterator[Coordinator]:
    """Serve from a fresh data folder; `settings` are those of coordinator.settings."""
    data = folder / "data"
    place = put_empty_database(data)
    if isinstance(place, PostgresPlace):
        settings["database"] = place.url
    objects = objects_of(data)
    if objects.folder is None:
        settings = settings_of(objects) | settings
    timeout = aiohttp.ClientTimeout(total=PATIENCE_SECONDS)
    connector = aiohttp.TCPConnector(limit=0)
    # No cookie jar: a test that logs in sends its cookie itself.
    async with aiohttp.ClientSession(
        connector=connector, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()
    ) as session:
        coordinator = Coordinator(data, settings, session, free_port(), clock, now)
        await coordinator.start()
        try:
            yield coordinator
            await coordinator.stop()
            # Whatever a test did with builds: the counters must have followed.
            assert not wrong_counts(place)
        finally:
            await coordinator.stop()
            shutil.rmtree(data, ignore_errors=True)
            # Or aiohttp keeps a thousand handlers of coordinators that ended, each with all that it
            # had: 10 MB, which every collection of garbage in this process walks through.
            web_app._cached_build_middleware.cache_clear()


@dataclass(frozen=True, slots=True, kw_only=True)
class GitResult:
    exit_code: int
    output: str
    errors: str


async def try_git(
    folder: Path, *arguments: str, environment: Mapping[str, str] = GIT_ENVIRONMENT
) -> GitResult:
    process = await asyncio.create_subprocess_exec(
        "git",
        *arguments,
        cwd=folder,
        env=dict(environment),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS * 2)
    return GitResult(
        exit_code=process.returncode or 0,
        output=out.decode(errors="replace").strip(),
        errors=err.decode(errors="replace"),
    )


async def git(
    folder: Path, *arguments: str, environment: Mapping[str, str] = GIT_ENVIRONMENT
) -> GitResult:
    result = await try_git(folder, *arguments, environment=environment)
    assert result.exit_code == 0, f"git {arguments}: {result.errors}"
    return result


@dataclass(slots=True)
class WorkTree:
    """A user's repository, with the project as its remote `origin`."""

    folder: Path
    environment: Mapping[str, str]

    async def git(self, *arguments: str) -> GitResult:
        return await git(self.folder, *arguments, environment=self.environment)

    async def commit(self, files: Mapping[str, str | bytes], message: str = "change") -> str:
        for name, content in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        await self.git("add", "-A")
        await self.git("commit", "-q", "--allow-empty", "-m", message)
        return (await self.git("rev-parse", "HEAD")).output

    async def push(self, *refs: str) -> GitResult:
        return await self.git("push", "origin", *(refs or ["main"]))


async def new_work_tree(
    folder: Path, caller: Caller, project: Mapping[str, Any], name: str = "work"
) -> WorkTree:
    path = folder / name
    path.mkdir()
    tree = WorkTree(path, caller.coordinator.push_environment(caller))
    await tree.git("init", "-q", "-b", "main")
    await tree.git("remote", "add", "origin", project["pushUrl"])
    return tree


async def eventually(look: Callable[[], Awaitable[Any]], seconds: float = PATIENCE_SECONDS) -> Any:
    """Call `look` until it answers something true."""
    async with asyncio.timeout(seconds):
        while not (found := await look()):
            await asyncio.sleep(0.02)
        return found
