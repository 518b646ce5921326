"""The real git command against a real aiohttp server."""

from __future__ import annotations

import asyncio
import gzip
import io
import os
import random
import signal
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import aiohttp
import pytest
from aiohttp import web

from coordinator.git.repositories import HostedRepositories
from coordinator.git.repository_folders import repository_path
from coordinator.git.smart_http import NOT_YET_BUILT, GitHttpBackend

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


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[GitHost]:
    async with serving(tmp_path / "repositories") as host:
        yield host


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


@pytest.fixture
async def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    await git(folder, "init", "-q", "-b", "main")
    return folder


async def test_a_pushed_branch_can_be_cloned(host: GitHost, work: Path, tmp_path: Path) -> None:
    project_id, url = await host.new_project()
    sha = await commit(work, b"hello")
    await git(work, "push", url, "main")
    await git(tmp_path, "clone", "-q", url, "clone")
    assert (tmp_path / "clone" / "file").read_bytes() == b"hello"
    assert await host.repositories.refs(project_id) == {"refs/heads/main": sha}


async def test_a_shallow_clone_has_one_commit(host: GitHost, work: Path, tmp_path: Path) -> None:
    _, url = await host.new_project()
    for number in range(3):
        await commit(work, b"%d" % number)
    await git(work, "push", "-q", url, "main")
    await git(tmp_path, "clone", "-q", "--depth=1", url, "clone")
    assert (await git(tmp_path / "clone", "rev-list", "--count", "HEAD")).output == "1"


@pytest.mark.parametrize("version", ["0", "2"])
async def test_a_commit_that_a_force_push_left_behind_is_fetched_by_its_sha(
    host: GitHost, work: Path, tmp_path: Path, version: str
) -> None:
    project_id, url = await host.new_project()
    await commit(work, b"base")
    left_behind = await commit(work, b"first")
    await git(work, "push", "-q", url, "main")
    await git(work, "reset", "-q", "--hard", "HEAD~1")
    after = await commit(work, b"second")
    await git(work, "push", "-q", "--force", url, "main")
    assert await host.repositories.refs(project_id) == {"refs/heads/main": after}
    await git(tmp_path, "init", "-q", "agent")
    agent = tmp_path / "agent"
    version_option = f"protocol.version={version}"
    await git(agent, "-c", version_option, "fetch", "-q", "--depth=1", url, left_behind)
    assert (await git(agent, "rev-parse", "FETCH_HEAD")).output == left_behind


async def test_the_pusher_sees_the_remote_lines(host: GitHost, work: Path) -> None:
    _, url = await host.new_project()
    host.remote_lines = ("pushrod: http://ci.example/builds/7", "two\x1b[31m lines", "ü" * 3000)
    await commit(work, b"hello")
    pushed = await git(work, "push", url, "main")
    shown = [line.rstrip() for line in pushed.errors.splitlines() if line.startswith("remote: ")]
    assert shown[:2] == ["remote: pushrod: http://ci.example/builds/7", "remote: two [31m lines"]
    assert sum(line.count("ü") for line in shown) == 3000
    assert "\x1b[31m" not in pushed.errors


async def test_a_quiet_push_gets_its_report_with_the_remote_lines(
    host: GitHost, work: Path
) -> None:
    _, url = await host.new_project()
    await commit(work, b"hello")
    pushed = await git(work, "push", "--porcelain", "--no-progress", url, "main")
    assert "*\trefs/heads/main:refs/heads/main\t[new branch]" in pushed.output
    assert "remote: pushrod: http://ci.example/builds/7" in pushed.errors


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


async def test_a_client_without_side_bands_gets_gits_answer_alone(
    host: GitHost, work: Path
) -> None:
    _, url = await host.new_project()
    sha = await commit(work, b"hello")
    async with aiohttp.ClientSession() as session:
        answer = await session.post(
            f"{url}/git-receive-pack", data=raw_push(work, sha), headers=PUSH_TYPE
        )
        assert await answer.read() == b"000eunpack ok\n0017ok refs/heads/main\n0000"
    assert host.received == [{"refs/heads/main": sha}]


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


async def test_several_refs_in_one_push_are_noticed_once(host: GitHost, work: Path) -> None:
    _, url = await host.new_project()
    sha = await commit(work, b"hello")
    await git(work, "tag", "-m", "one", "v1")
    tag = (await git(work, "rev-parse", "v1")).output
    await git(work, "push", url, "main", "main:refs/heads/other", "v1")
    assert host.received == [{"refs/heads/main": sha, "refs/heads/other": sha, "refs/tags/v1": tag}]


async def test_the_default_branch_can_be_deleted(host: GitHost, work: Path) -> None:
    project_id, url = await host.new_project()
    await commit(work, b"hello")
    await git(work, "push", "-q", url, "main")
    deleted = await git(work, "push", url, ":main")
    assert "remote: pushrod: " in deleted.errors
    assert await host.repositories.refs(project_id) == {}


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


async def test_a_fetch_with_a_compressed_request_works(
    host: GitHost, work: Path, tmp_path: Path
) -> None:
    """Git compresses a request above 1,024 bytes: here by the haves of many branches."""
    _, url = await host.new_project()
    await commit(work, b"0")
    await git(work, "push", "-q", url, "main")
    await git(tmp_path, "clone", "-q", url, "clone")
    clone = tmp_path / "clone"
    for number in range(40):
        await git(clone, "checkout", "-q", "-b", f"b{number}", "origin/main")
        await commit(clone, b"branch %d" % number)
    sha = await commit(work, b"new")
    await git(work, "push", "-q", url, "main")
    await git(clone, "-c", "protocol.version=0", "fetch", "-q", "origin")
    assert (await git(clone, "rev-parse", "origin/main")).output == sha


async def test_objects_that_fail_gits_check_are_refused(host: GitHost, work: Path) -> None:
    project_id, url = await host.new_project()
    tree = (await git(work, "hash-object", "-t", "tree", "-w", os.devnull)).output
    bad = work / "bad-commit"
    bad.write_text(f"tree {tree}\nauthor Anna 0 +0000\ncommitter Anna 0 +0000\n\nno email\n")
    sha = await git(work, "hash-object", "-t", "commit", "-w", "--literally", str(bad))
    pushed = await try_git(work, "push", url, f"{sha.output}:refs/heads/main")
    assert pushed.code != 0
    assert "missingEmail" in pushed.errors
    assert await host.repositories.refs(project_id) == {}


async def test_a_failing_ingest_leaves_the_push_a_success(host: GitHost, work: Path) -> None:
    project_id, url = await host.new_project()
    host.failing = True
    sha = await commit(work, b"hello")
    pushed = await git(work, "push", url, "main")
    for line in NOT_YET_BUILT:
        assert f"remote: {line}" in pushed.errors
    assert await host.repositories.refs(project_id) == {"refs/heads/main": sha}


async def test_no_hook_of_the_repository_runs(host: GitHost, work: Path) -> None:
    project_id, url = await host.new_project()
    hook = host.repositories.path(project_id) / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    await commit(work, b"hello")
    await git(work, "push", "-q", url, "main")


async def test_a_repository_of_another_owner_is_served(host: GitHost, work: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    project_id, url = await host.new_project()
    os.chown(host.repositories.path(project_id), 65534, 65534)
    sha = await commit(work, b"hello")
    await git(work, "push", "-q", url, "main")
    assert await host.repositories.refs(project_id) == {"refs/heads/main": sha}


async def test_seventy_concurrent_pushes_to_three_repositories_all_arrive(
    host: GitHost, work: Path
) -> None:
    await commit(work, b"base")
    projects = [await host.new_project() for _ in range(3)]
    shas: dict[str, str] = {}
    for number in range(70):
        await git(work, "checkout", "-q", "-b", f"b{number}", "main")
        shas[f"refs/heads/b{number}"] = await commit(work, b"%d" % number)
    gate = asyncio.Semaphore(35)

    async def push(number: int) -> Ran:
        async with gate:
            return await try_git(work, "push", projects[number % 3][1], f"b{number}")

    pushes = await asyncio.gather(*(push(number) for number in range(70)))
    assert [ran.errors for ran in pushes if ran.code] == []
    assert all("remote: pushrod: " in ran.errors for ran in pushes)
    arrived = {}
    for project_id, _ in projects:
        arrived |= await host.repositories.refs(project_id)
    assert arrived == shas


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


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("info/refs", 403),
        ("info/refs?service=git-upload-archive", 403),
        ("info/refs?service=git-upload-pack%0A", 403),
    ],
)
async def test_only_the_two_services_of_smart_http_are_served(
    host: GitHost, path: str, status: int
) -> None:
    _, url = await host.new_project()
    async with aiohttp.ClientSession() as session:
        assert (await session.get(f"{url}/{path}")).status == status


async def test_an_unknown_commit_is_refused_in_words_that_git_shows(
    host: GitHost, work: Path
) -> None:
    _, url = await host.new_project()
    await commit(work, b"hello")
    await git(work, "push", "-q", url, "main")
    fetched = await try_git(work, "fetch", url, "1" * 40)
    assert fetched.code != 0
    assert "not our ref" in fetched.errors


async def test_a_repository_that_is_missing_is_a_404(host: GitHost, work: Path) -> None:
    cloned = await try_git(work, "ls-remote", f"{host.url}/{uuid4()}.git")
    assert "not found" in cloned.errors


async def test_what_git_can_do_is_told_as_git_tells_it_each_time(
    host: GitHost, work: Path, tmp_path: Path
) -> None:
    project_id, url = await host.new_project()
    path = f"{url}/info/refs?service=git-upload-pack"
    async with aiohttp.ClientSession(headers={"Git-Protocol": "version=2"}) as session:
        told = []
        for _ in range(2):
            async with session.get(path) as answer:
                assert answer.content_type == "application/x-git-upload-pack-advertisement"
                told.append(await answer.read())
        assert told[0] == told[1]
        assert told[0].startswith(b"000eversion 2\n")
        repository = repository_path(host.root, project_id)
        await git(tmp_path, "--git-dir", str(repository), "config", "uploadpack.allowFilter", "1")
        async with session.get(path) as answer:
            assert b"fetch=shallow wait-for-done filter" in await answer.read()
    async with aiohttp.ClientSession() as session, session.get(path) as answer:
        assert b"# service=git-upload-pack" in await answer.read()


@pytest.mark.parametrize("version", ["0", "2"])
async def test_hidden_commits_are_fetched_by_their_sha_and_shown_to_nobody(
    host: GitHost, work: Path, tmp_path: Path, version: str
) -> None:
    project_id, url = await host.new_project()
    await commit(work, b"hello")
    await git(work, "push", "-q", url, "main")
    hidden = await host.repositories.store_files(
        project_id, {"agent.py": "1"}, name="images/x", message="sources"
    )
    option = f"protocol.version={version}"
    shown = (await git(work, "-c", option, "ls-remote", url)).output
    assert "refs/heads/main" in shown
    assert hidden not in shown
    await git(work, "-c", option, "fetch", "-q", "--depth=1", url, hidden)
    assert (await git(work, "show", "FETCH_HEAD:agent.py")).output == "1"
    refused = await try_git(work, "push", url, "HEAD:refs/pushrod/images/x")
    assert refused.code != 0
    assert "hidden ref" in refused.errors
    await git(work, "-c", option, "fetch", "-q", "--depth=1", url, hidden)
