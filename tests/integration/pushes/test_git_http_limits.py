"""Clients of a real aiohttp server that ask too much, are too slow, or go away."""

from __future__ import annotations

import asyncio
import gzip
import io
import os
import random
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from coordinator.git.smart_http import GitHttpBackend
from tests.integration.pushes.git_host import (
    GIT_ENVIRONMENT,
    MAX_INPUT_BYTES,
    PUSH_TYPE,
    GitHost,
    commit,
    git,
    git_processes,
    raw_push,
    serving,
    try_git,
)


@pytest.mark.parametrize("handler_cancellation", [False, True])
async def test_a_client_that_leaves_before_the_answer_has_pushed_all_the_same(
    tmp_path: Path, work: Path, handler_cancellation: bool
) -> None:
    """Also where the server cancels the handler, as it does at a shutdown."""
    root = tmp_path / "repositories"
    async with serving(root, handler_cancellation=handler_cancellation) as host:
        host.gate.clear()
        _, url = await host.new_project()
        sha = await commit(work, b"hello")
        async with aiohttp.ClientSession() as session:
            push = asyncio.create_task(
                session.post(f"{url}/git-receive-pack", data=raw_push(work, sha), headers=PUSH_TYPE)
            )
            await host.entered.wait()
            push.cancel()
            with pytest.raises(asyncio.CancelledError):
                await push
        host.gate.set()
        async with asyncio.timeout(60), host.changed:
            await host.changed.wait_for(lambda: host.received == [{"refs/heads/main": sha}])


async def test_a_push_of_thirty_megabytes_arrives_whole(
    host: GitHost, work: Path, tmp_path: Path
) -> None:
    _, url = await host.new_project()
    content = random.Random(1).randbytes(30_000_000)
    await commit(work, content)
    await git(work, "push", "-q", url, "main")
    await git(tmp_path, "clone", "-q", url, "clone")
    assert (tmp_path / "clone" / "file").read_bytes() == content


async def test_a_pack_beyond_the_limit_is_refused_in_words_that_git_shows(
    host: GitHost, work: Path
) -> None:
    project_id, url = await host.new_project()
    await commit(work, random.Random(1).randbytes(MAX_INPUT_BYTES + 2_000_000))
    pushed = await try_git(work, "push", url, "main")
    assert pushed.code != 0
    assert "pack exceeds maximum allowed size" in pushed.errors
    assert await host.repositories.refs(project_id) == {}


async def test_a_body_far_beyond_the_limit_is_a_413(host: GitHost) -> None:
    project_id, url = await host.new_project()

    async def endless() -> AsyncIterator[bytes]:
        yield b"0000"
        for _ in range(3 * MAX_INPUT_BYTES // 1_000_000):
            yield bytes(1_000_000)

    async with aiohttp.ClientSession() as session:
        answer = await session.post(
            f"{url}/git-receive-pack",
            data=endless(),
            headers=PUSH_TYPE,
        )
        assert answer.status == 413
        assert str(MAX_INPUT_BYTES) in await answer.text()
    assert await host.repositories.refs(project_id) == {}


async def test_a_declared_length_beyond_the_limit_is_refused_before_git_starts(
    host: GitHost,
) -> None:
    _, url = await host.new_project()
    async with aiohttp.ClientSession() as session:
        answer = await session.post(
            f"{url}/git-upload-pack",
            data=io.BytesIO(bytes(11 * 1024 * 1024)),
            headers={"Content-Type": "application/x-git-upload-pack-request"},
        )
        assert answer.status == 413
    assert host.received == []


async def test_a_compressed_body_is_counted_as_it_inflates(host: GitHost) -> None:
    _, url = await host.new_project()
    async with aiohttp.ClientSession() as session:
        answer = await session.post(
            f"{url}/git-upload-pack",
            data=io.BytesIO(gzip.compress(bytes(40 * 1024 * 1024))),
            headers={
                "Content-Type": "application/x-git-upload-pack-request",
                "Content-Encoding": "gzip",
            },
        )
        assert answer.status == 413


async def test_a_client_killed_in_the_middle_of_its_push_leaves_nothing_behind(
    host: GitHost, work: Path
) -> None:
    project_id, url = await host.new_project()
    sha = await commit(work, b"hello")
    await git(work, "push", "-q", url, "main")
    content = random.Random(1).randbytes(30_000_000)
    await commit(work, content)
    proxy = await StallingProxy.start(host.url, pass_bytes=4_000_000)
    client = await asyncio.create_subprocess_exec(
        "git",
        "push",
        f"{proxy.url}/{project_id}.git",
        "main",
        cwd=work,
        env=GIT_ENVIRONMENT,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    await proxy.stalled.wait()
    assert git_processes(host.root)
    os.killpg(client.pid, signal.SIGKILL)
    await client.wait()
    await proxy.close()
    async with asyncio.timeout(60), host.changed:
        await host.changed.wait_for(lambda: len(host.received) == 3)
    assert host.received[-1] == {"refs/heads/main": sha}
    repository = host.repositories.path(project_id)
    assert not list(repository.glob("objects/*incoming*"))
    assert not list(repository.rglob("*.lock"))
    await git(repository, "fsck", "--strict")
    assert not git_processes(host.root)
    await git(work, "push", "-q", url, "main")


class StallingProxy:
    """Passes connections on, but of requests only the first `pass_bytes`, then nothing more."""

    def __init__(self, port: int, pass_bytes: int) -> None:
        self._port = port
        self._left = pass_bytes
        self._writers: list[asyncio.StreamWriter] = []
        self.stalled = asyncio.Event()
        self.url = ""
        self._server: asyncio.Server | None = None

    @classmethod
    async def start(cls, url: str, *, pass_bytes: int) -> StallingProxy:
        proxy = cls(int(url.rpartition(":")[2]), pass_bytes)
        proxy._server = await asyncio.start_server(proxy._serve, "127.0.0.1", 0)
        proxy.url = f"http://127.0.0.1:{proxy._server.sockets[0].getsockname()[1]}"
        return proxy

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers += [writer, upstream_writer]

        async def upwards() -> None:
            while self._left > 0 and (data := await reader.read(65536)):
                self._left -= len(data)
                upstream_writer.write(data)
                await upstream_writer.drain()
            if self._left <= 0:
                self.stalled.set()

        async def downwards() -> None:
            while data := await upstream_reader.read(65536):
                writer.write(data)
                await writer.drain()

        await asyncio.gather(upwards(), downwards(), return_exceptions=True)

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.close()
        await self._server.wait_closed()


async def test_an_idle_client_is_cut_off(tmp_path: Path, host: GitHost) -> None:
    host.backend = GitHttpBackend(host.root, idle_seconds=0.2)
    _, url = await host.new_project()

    async def stalling() -> AsyncIterator[bytes]:
        yield b"00"
        await asyncio.Event().wait()

    async with aiohttp.ClientSession() as session:
        answer = await session.post(
            f"{url}/git-receive-pack",
            data=stalling(),
            headers=PUSH_TYPE,
        )
        assert answer.status == 408
