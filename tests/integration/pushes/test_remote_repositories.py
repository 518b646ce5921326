"""Remote repositories: who is let in with what, and what is never fetched."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.e2e.processes import READY, Process
from tests.integration.coordinator_fixture import (
    ONE_STEP,
    Answer,
    Coordinator,
    open_coordinator,
)
from tests.integration.forge_fixture import (
    Forge,
    Hook,
    Repository,
    open_forge,
    push_payload,
    remote_project,
    until_settled,
)
from tests.ports import free_port

QUICK = {"fetch_retry_seconds": 0.05, "fetch_attempts": 2}
LOCAL = {"allow_http_repositories": True, "allow_private_addresses": True, **QUICK}


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with open_coordinator(tmp_path, **LOCAL) as coordinator:
        yield coordinator


@pytest.fixture
async def forge(tmp_path: Path) -> AsyncIterator[Forge]:
    async with open_forge(tmp_path) as forge:
        yield forge


@pytest.fixture
async def repository(forge: Forge, tmp_path: Path) -> Repository:
    return await forge.new_repository(tmp_path / "tree")


async def deliver(hook: Hook, repository: Repository, url: str | None = None) -> dict[str, Any]:
    """Push to the forge, tell the coordinator, and wait for what becomes of it."""
    sha = await repository.push({".pushrod.yml": ONE_STEP})
    await hook.github("push", push_payload(url or repository.url, sha), delivery=sha, wait=0)
    return await until_settled(hook, sha)


async def give(hook: Hook, **credential: str) -> None:
    path = f"/api/projects/{hook.project['id']}/credential"
    (await hook.coordinator.admin.call("PUT", path, json=credential)).expect(204)


async def test_a_private_repository_is_fetched_with_the_projects_token(
    coordinator: Coordinator, repository: Repository
) -> None:
    repository.forge.require("x-access-token", "s3cret-token")
    _, hook = await remote_project(coordinator, repository.url)
    refused = await deliver(hook, repository)
    assert refused["status"] == "failed"
    assert refused["attempts"] == 1, "a wrong password is not tried again"
    assert "asks for a token, and got none" in refused["reason"]
    assert "`pushrod project credential`" in refused["reason"]
    await give(hook, token="wrong")
    refused = await deliver(hook, repository)
    assert refused["status"] == "failed"
    assert "refuses the token that it got" in refused["reason"]
    await give(hook, token="s3cret-token")
    assert (await deliver(hook, repository))["status"] == "processed"


async def test_a_token_may_name_its_user(coordinator: Coordinator, repository: Repository) -> None:
    repository.forge.require("deploy", "s3cret-token")
    _, hook = await remote_project(coordinator, repository.url)
    await give(hook, token="deploy:s3cret-token\n")
    assert (await deliver(hook, repository))["status"] == "processed"


async def test_a_token_is_nowhere_on_disk_nor_in_an_answer(
    coordinator: Coordinator, repository: Repository
) -> None:
    repository.forge.require("x-access-token", "s3cret-token")
    project, hook = await remote_project(coordinator, repository.url)
    await give(hook, token="s3cret-token")
    delivery = await deliver(hook, repository)
    await give(hook, token="another-s3cret-token")
    failed = await deliver(hook, repository)
    shown = await coordinator.admin.get(f"/api/projects/{project['id']}")
    audit = await coordinator.admin.get("/api/audit-logs")
    builds = await coordinator.admin.get(f"/api/projects/{project['id']}/builds")
    for text in (str(delivery), str(failed), shown.text, audit.text, builds.text):
        assert "s3cret" not in text
    await coordinator.stop()
    for path in coordinator.data.rglob("*"):
        assert not path.is_file() or b"s3cret" not in path.read_bytes(), path
    await coordinator.start()
    assert list((coordinator.data / "fetching").iterdir()) == []


async def test_a_credential_can_be_removed(
    coordinator: Coordinator, repository: Repository
) -> None:
    _, hook = await remote_project(coordinator, repository.url)
    await give(hook, token="s3cret-token")
    path = f"/api/projects/{hook.project['id']}/credential"
    (await coordinator.admin.call("DELETE", path)).expect(204)
    (await coordinator.admin.call("DELETE", path)).expect(404)
    await deliver(hook, repository)
    assert set(repository.forge.asked) == {None}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"token": "a", "deployKey": "b"},
        {"token": "two\nlines"},
        {"token": "user:"},
        {"token": ":x"},
        {"token": "é"},
        {"password": "s3cret"},
    ],
)
async def test_what_is_no_credential_for_the_url_is_refused(
    body: dict[str, str], coordinator: Coordinator, repository: Repository
) -> None:
    _, hook = await remote_project(coordinator, repository.url)
    path = f"/api/projects/{hook.project['id']}/credential"
    answer = (await coordinator.admin.call("PUT", path, json=body)).expect(400)
    assert "s3cret" not in answer.text


async def test_a_deploy_key_contradicts_an_http_url(
    coordinator: Coordinator, repository: Repository
) -> None:
    project, _ = await remote_project(coordinator, repository.url)
    path = f"/api/projects/{project['id']}/credential"
    key = {"deployKey": "-----BEGIN OPENSSH PRIVATE KEY-----\nx\n-----END"}
    answer = await coordinator.admin.call("PUT", path, json=key)
    assert "is fetched with a token" in answer.expect(409).text


async def test_only_a_maintainer_of_the_account_sets_a_credential(
    coordinator: Coordinator, repository: Repository
) -> None:
    _, hook = await remote_project(coordinator, repository.url)
    path = f"/api/projects/{hook.project['id']}/credential"
    developer = await coordinator.admin.new_token(role="developer", account="default")
    (await developer.call("PUT", path, json={"token": "x"})).expect(403)
    stranger = await coordinator.admin.new_token(role="maintainer", account="strangers")
    (await stranger.call("PUT", path, json={"token": "x"})).expect(404)


async def test_a_redirect_is_not_followed_and_the_token_stays_here(
    coordinator: Coordinator, repository: Repository, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    async with open_forge(tmp_path / "elsewhere") as elsewhere:
        repository.forge.redirect = elsewhere.url
        _, hook = await remote_project(coordinator, repository.url)
        await give(hook, token="s3cret-token")
        delivery = await deliver(hook, repository)
        assert elsewhere.asked == []
    assert delivery["status"] == "failed"
    assert "redirects" in delivery["reason"]


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("http://github.com/a/b.git", "allow_http_repositories"),
        ("file:///etc", "allow_file_repositories"),
        ("https://127.0.0.1/a.git", "allow_private_addresses"),
        ("https://user:token@github.com/a/b.git", "credential"),
        ("ext::id", "scheme"),
    ],
)
async def test_a_url_that_would_not_be_fetched_is_refused_at_creation(
    url: str, word: str, tmp_path: Path
) -> None:
    async with open_coordinator(tmp_path) as coordinator:
        body = {"accountId": "default", "name": "x", "repoUrl": url}
        answer = (await coordinator.admin.post("/api/projects", body)).expect(400)
        assert word in answer.text


async def test_a_name_that_points_to_this_machine_is_not_fetched(
    repository: Repository, tmp_path: Path
) -> None:
    (tmp_path / "strict").mkdir()
    settings = {"allow_http_repositories": True, **QUICK}
    async with open_coordinator(tmp_path / "strict", **settings) as coordinator:
        # A name of this machine, which is no `localhost` to look at.
        name = socket.gethostname()
        try:
            address = ipaddress.ip_address(socket.gethostbyname(name))
        except OSError:
            pytest.skip("this machine's own name can't be resolved")
        if address.is_global:
            pytest.skip("this machine's own name is that of a public address")
        url = repository.url.replace("127.0.0.1", name)
        _, hook = await remote_project(coordinator, url)
        delivery = await deliver(hook, repository, url)
        assert delivery["status"] == "failed"
        assert "allow_private_addresses" in delivery["reason"]
        assert repository.forge.asked == []


async def test_the_settings_hold_at_each_fetch_not_only_at_creation(
    coordinator: Coordinator, repository: Repository
) -> None:
    _, hook = await remote_project(coordinator, repository.url)
    coordinator.settings = QUICK
    await coordinator.restart()
    delivery = await deliver(hook, repository)
    assert delivery["status"] == "failed"
    assert "allow_http_repositories" in delivery["reason"]
    assert repository.forge.asked == []


async def test_a_file_repository_is_fetched_where_the_operator_allows_it(
    repository: Repository, tmp_path: Path
) -> None:
    (tmp_path / "files").mkdir()
    async with open_coordinator(tmp_path / "files", allow_file_repositories=True) as coordinator:
        url = f"file://{repository.path}"
        _, hook = await remote_project(coordinator, url)
        assert (await deliver(hook, repository, url))["status"] == "processed"


async def test_a_forge_that_stalls_is_given_up_and_leaves_no_process(
    repository: Repository, tmp_path: Path
) -> None:
    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    stalling = await asyncio.start_server(never, "127.0.0.1", 0)
    port = stalling.sockets[0].getsockname()[1]
    (tmp_path / "short").mkdir()
    settings = LOCAL | {"fetch_seconds": 0.5, "fetch_attempts": 1}
    async with (
        stalling,
        open_coordinator(tmp_path / "short", **settings) as coordinator,
    ):
        url = f"http://127.0.0.1:{port}/a.git"
        _, hook = await remote_project(coordinator, url)
        delivery = await deliver(hook, repository, url)
        assert delivery["status"] == "failed"
        assert "0.5 s" in delivery["reason"]
        folder = str(coordinator.data)
        running = await asyncio.to_thread(
            subprocess.run, ["ps", "-eo", "args"], capture_output=True, text=True, check=True
        )
        assert not [line for line in running.stdout.splitlines() if folder in line]


@pytest.mark.parametrize("files", [1, 150], ids=["as objects", "as a pack"])
async def test_a_repository_over_the_limit_is_refused(
    repository: Repository, tmp_path: Path, files: int
) -> None:
    """A large number of objects stays a pack, which another program of git's writes."""
    (tmp_path / "small").mkdir()
    settings = LOCAL | {"max_fetch_bytes": 64 * 1024}
    async with open_coordinator(tmp_path / "small", **settings) as coordinator:
        _, hook = await remote_project(coordinator, repository.url)
        for number in range(files):
            content = os.urandom(512 * 1024 // files)
            (repository.tree.folder / f"big{number}").write_bytes(content)
        delivery = await deliver(hook, repository)
        assert (delivery["status"], "max_fetch_bytes" in delivery["reason"]) == ("failed", True)
        assert delivery["attempts"] == 1


async def test_a_coordinator_killed_after_its_answer_builds_at_its_next_start(
    repository: Repository, tmp_path: Path
) -> None:
    data, port = tmp_path / "killed", free_port()
    process = Process(
        *("coordinator", "--data", str(data), "--listen", f"127.0.0.1:{port}"),
        log=tmp_path / "killed.log",
        settings={
            "allow_http_repositories": "true",
            "allow_private_addresses": "true",
            "fetch_retry_seconds": "0.1",
            "fetch_attempts": "100",
        },
    )
    try:
        await asyncio.to_thread(process.start, READY.pattern)
        async with aiohttp.ClientSession() as session:
            coordinator = Coordinator(data, {}, session, port)
            _, hook = await remote_project(coordinator, repository.url)
            sha = await repository.push({".pushrod.yml": ONE_STEP})
            repository.forge.status = 503
            answer = await hook.github(
                "push", push_payload(repository.url, sha), delivery="d", wait=0
            )
            answer.expect(202)
            await asyncio.to_thread(process.kill)
            repository.forge.status = None
            await asyncio.to_thread(process.start, READY.pattern)
            assert (await until_settled(hook, "d"))["status"] == "processed"
            assert len(await coordinator.admin.builds(hook.project)) == 1
    finally:
        await asyncio.to_thread(process.stop)


# Built by hand


async def build_by_hand(hook: Hook, **origin: str) -> Answer:
    """A build of the project's one workflow."""
    admin, project = hook.coordinator.admin, hook.project
    [workflow] = (await admin.get(f"/api/projects/{project['id']}/workflows")).json
    body = {"workflowId": workflow["id"], **origin}
    return await admin.post(f"/api/projects/{project['id']}/builds", body)


async def test_a_build_by_hand_fetches_what_no_webhook_told_of(
    coordinator: Coordinator, repository: Repository
) -> None:
    repository.forge.require("x-access-token", "s3cret-token")
    _, hook = await remote_project(coordinator, repository.url)
    await give(hook, token="s3cret-token")
    assert (await deliver(hook, repository))["status"] == "processed"
    tip = await repository.push({"more": "1"})
    build = (await build_by_hand(hook, branch="main")).expect(201).json
    assert (build["commitHash"], build["branch"]) == (tip, "main")
    other = await repository.push({"more": "2"}, ref="refs/heads/a/b")
    build = (await build_by_hand(hook, commitHash=other)).expect(201).json
    assert build["commitHash"] == other
    build = (await build_by_hand(hook, branch="a/b")).expect(201).json
    assert build["commitHash"] == other


@pytest.mark.parametrize(
    ("origin", "status", "said"),
    [
        ({"branch": "nowhere"}, 400, "has no branch 'nowhere'"),
        ({"branch": "*"}, 400, "name the branch or commitHash"),
        ({"branch": "--upload-pack=x"}, 400, "name the branch or commitHash"),
        ({"commitHash": "1" * 40}, 400, f"has no commit '{'1' * 40}'"),
        ({"commitHash": "abcdef1"}, 400, "give all of its 40 digits"),
    ],
)
async def test_what_the_forge_does_not_have_is_no_build(
    coordinator: Coordinator,
    repository: Repository,
    origin: dict[str, str],
    status: int,
    said: str,
) -> None:
    _, hook = await remote_project(coordinator, repository.url)
    assert (await deliver(hook, repository))["status"] == "processed"
    answer = await build_by_hand(hook, **origin)
    assert answer.status == status, answer.text
    assert said in answer.text


async def test_a_forge_that_is_away_is_told_to_who_builds_by_hand(
    coordinator: Coordinator, repository: Repository
) -> None:
    _, hook = await remote_project(coordinator, repository.url)
    assert (await deliver(hook, repository))["status"] == "processed"
    repository.forge.status = 503
    answer = await build_by_hand(hook, branch="main")
    assert "could not be fetched" in answer.expect(400).json["error"]
