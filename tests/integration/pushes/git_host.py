"""A server of git alone, and the git command that asks it."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from aiohttp import web

from coordinator.git.repositories import HostedRepositories
from coordinator.git.smart_http import GitHttpBackend

MAX_INPUT_BYTES = 48 * 1024 * 1024


@dataclass(slots=True)
class GitHost:
    """A server for any project id in its URL, as the lead's api layer wires it but for tokens."""

    root: Path
    backend: GitHttpBackend
    repositories: HostedRepositories
    url: str = ""
    remote_lines: Sequence[str] = ("pushrod: http://ci.example/builds/7",)
    failing: bool = False
    entered: asyncio.Event = field(default_factory=asyncio.Event)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    """What after_receive waits for; set unless a test clears it."""
    received: list[dict[str, str]] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def info_refs(self, request: web.Request) -> web.StreamResponse:
        service = request.query.get("service", "")
        return await self.backend.info_refs(request, request.match_info["id"], service)

    async def rpc(self, request: web.Request) -> web.StreamResponse:
        project_id = request.match_info["id"]

        async def after_receive() -> Sequence[str]:
            self.entered.set()
            await self.gate.wait()
            refs = await self.repositories.refs(project_id)
            async with self.changed:
                self.received.append(dict(refs))
                self.changed.notify_all()
            if self.failing:
                raise OSError("the database is away")
            return self.remote_lines

        return await self.backend.rpc(
            request,
            project_id,
            request.match_info["service"],
            env_user="anna",
            after_receive=after_receive,
        )

    async def new_project(self) -> tuple[str, str]:
        """A fresh repository: its project id and URL."""
        project_id = str(uuid4())
        await self.repositories.create(project_id)
        return project_id, f"{self.url}/{project_id}.git"


@asynccontextmanager
async def serving(root: Path, *, handler_cancellation: bool = False) -> AsyncIterator[GitHost]:
    host = GitHost(
        root=root,
        backend=GitHttpBackend(root, max_processes=4, max_input_bytes=MAX_INPUT_BYTES),
        repositories=HostedRepositories(root, max_input_bytes=MAX_INPUT_BYTES),
    )
    host.gate.set()
    app = web.Application()
    app.router.add_get("/{id}.git/info/refs", host.info_refs)
    app.router.add_post("/{id}.git/{service}", host.rpc)
    runner = web.AppRunner(app, lingering_time=1, handler_cancellation=handler_cancellation)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield host
    await runner.cleanup()
    await host.backend.close()
    assert not git_processes(root)


def git_processes(root: Path) -> list[str]:
    """Command lines of the git processes that serve a repository below `root`."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes()
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if b"GIT_PROJECT_ROOT=%s\0" % os.fsencode(root) in environment:
            found.append(command)
    return found


GIT_ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "HOME": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_AUTHOR_NAME": "Anna",
    "GIT_AUTHOR_EMAIL": "anna@example.org",
    "GIT_COMMITTER_NAME": "Anna",
    "GIT_COMMITTER_EMAIL": "anna@example.org",
    "GIT_AUTHOR_DATE": "2024-01-01T00:00:00Z",
    "GIT_COMMITTER_DATE": "2024-01-01T00:00:00Z",
}


@dataclass(frozen=True, slots=True)
class Ran:
    code: int
    output: str
    errors: str


async def try_git(folder: Path, *arguments: str) -> Ran:
    process = await asyncio.create_subprocess_exec(
        "git",
        *arguments,
        cwd=folder,
        env=GIT_ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    output, errors = await process.communicate()
    return Ran(process.returncode or 0, output.decode().strip(), errors.decode())


async def git(folder: Path, *arguments: str) -> Ran:
    ran = await try_git(folder, *arguments)
    assert ran.code == 0, ran.errors
    return ran


async def commit(folder: Path, content: bytes, *, name: str = "file") -> str:
    (folder / name).write_bytes(content)
    await git(folder, "add", "-A")
    await git(folder, "commit", "-q", "-m", f"write {name}")
    return (await git(folder, "rev-parse", "HEAD")).output


def raw_push(work: Path, sha: str) -> bytes:
    """The body of a push of main by a client that negotiates nothing but the report."""
    pack = subprocess.run(
        ["git", "pack-objects", "--revs", "--stdout", "-q"],
        cwd=work,
        env=GIT_ENVIRONMENT,
        input=b"HEAD\n",
        capture_output=True,
        check=True,
    ).stdout
    command = f"{'0' * 40} {sha} refs/heads/main\0 report-status".encode()
    return b"%04x%s0000%s" % (len(command) + 4, command, pack)


PUSH_TYPE = {"Content-Type": "application/x-git-receive-pack-request"}
