"""The real git command against a real aiohttp server."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from uuid import uuid4

import aiohttp
import pytest

from coordinator.git.repository_folders import repository_path
from coordinator.git.smart_http import NOT_YET_BUILT
from tests.integration.pushes.git_host import (
    PUSH_TYPE,
    GitHost,
    Ran,
    commit,
    git,
    raw_push,
    try_git,
)


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
