"""A real Gitea, where somebody has built one: see build-gitea."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.integration.coordinator_fixture import GIT_ENVIRONMENT, WorkTree, eventually
from tests.ports import free_port

FOLDER = "PUSHROD_TEST_GITEA"
PASSWORD = "not-so-secret-1"
CONFIG = """
RUN_MODE = prod
WORK_PATH = {work}
[server]
HTTP_ADDR = 127.0.0.1
HTTP_PORT = {port}
ROOT_URL = {url}/
STATIC_ROOT_PATH = {static}
DISABLE_SSH = true
OFFLINE_MODE = true
[database]
DB_TYPE = sqlite3
PATH = {work}/gitea.db
[security]
INSTALL_LOCK = true
[webhook]
ALLOWED_HOST_LIST = loopback
[log]
LEVEL = Warn
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Who calls its API, and pushes."""

    url: str
    name: str
    token: str

    async def call(self, method: str, path: str, body: object = None, *, status: int = 200) -> Any:
        headers = {"Authorization": f"token {self.token}"}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.request(method, f"{self.url}/api/v1{path}", json=body) as answer,
        ):
            text = await answer.text()
            assert answer.status == status, f"{method} {path}: {answer.status} {text[:500]}"
            return None if not text else await answer.json()

    async def tree(self, folder: Path, repository: str) -> WorkTree:
        """An empty one that pushes there."""
        folder.mkdir()
        tree = WorkTree(folder, GIT_ENVIRONMENT)
        await tree.git("init", "-q", "-b", "main")
        there = self.url.replace("://", f"://{self.name}:{self.token}@")
        await tree.git("remote", "add", "origin", f"{there}/{repository}.git")
        return tree


@dataclass(frozen=True, slots=True, kw_only=True)
class Gitea:
    program: Path
    config: Path
    url: str

    async def person(self, name: str, scopes: str = "all") -> Person:
        await self.run("user", "create", *_new_user(name))
        return await self.with_token(name, scopes)

    async def with_token(self, name: str, scopes: str) -> Person:
        of = ("--username", name, "--token-name", f"{name} {scopes}", "--scopes", scopes)
        printed = await self.run("user", "generate-access-token", *of, "--raw")
        return Person(url=self.url, name=name, token=printed.split()[-1])

    async def run(self, *arguments: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *self.command("admin", *arguments),
            env=_environment(),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        printed = (await process.communicate())[0].decode()
        assert process.returncode == 0, printed
        return printed

    def command(self, *arguments: str) -> Sequence[str]:
        return [str(self.program), *arguments, "--config", str(self.config)]


def _new_user(name: str) -> Sequence[str]:
    mail = f"{name}@example.org"
    named = ("--username", name, "--password", PASSWORD, "--email", mail)
    return [*named, "--must-change-password=false"]


def _environment() -> dict[str, str]:
    return {**os.environ, "GITEA_I_AM_BEING_UNSAFE_RUNNING_AS_ROOT": "true"}


@asynccontextmanager
async def open_gitea(folder: Path) -> AsyncIterator[Gitea]:
    """Skips the test where there is none."""
    built = Path(os.environ.get(FOLDER, ""))
    if not os.environ.get(FOLDER) or not (built / "gitea").exists():
        pytest.skip(f"no Gitea: {FOLDER} names the folder in which build-gitea built one")
    work = folder / "gitea"
    work.mkdir()
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    config = work / "app.ini"
    config.write_text(CONFIG.format(work=work, port=port, url=url, static=built / "static"))
    gitea = Gitea(program=built / "gitea", config=config, url=url)
    with (work / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *gitea.command("web"), env=_environment(), stdout=log, stderr=log
        )
    try:
        await eventually(lambda: _answers(url))
        yield gitea
    finally:
        process.terminate()
        await process.wait()


async def _answers(url: str) -> bool:
    try:
        async with aiohttp.ClientSession() as session, session.get(f"{url}/api/healthz") as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False
