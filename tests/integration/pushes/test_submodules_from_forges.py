"""Submodules at a forge: whose credential fetches them, how long, and what a fork gets of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.integration.coordinator_fixture import (
    Caller,
    Coordinator,
    new_work_tree,
    open_coordinator,
)
from tests.integration.forge_fixture import (
    Forge,
    Hook,
    Repository,
    open_forge,
    push_payload,
    remote_project,
)
from tests.integration.pushes.submodules import ALWAYS, LOCAL, build_of_fork, hosted, lines, pushed
from tests.integration.source_fixture import (
    add_submodule,
    finished,
    running_agent,
    set_submodule,
    workflow_of,
)


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with open_coordinator(tmp_path, **LOCAL) as coordinator:
        yield coordinator


async def give_token(hook: Hook, token: str) -> None:
    path = f"/api/projects/{hook.project['id']}/credential"
    (await hook.coordinator.admin.call("PUT", path, json={"token": token})).expect(204)


async def deliver(hook: Hook, repository: Repository, files: dict[str, str]) -> None:
    sha = await repository.push(files)
    answer = await hook.github("push", push_payload(repository.url, sha))
    assert answer.expect(202).json["status"] == "processed", answer.text


async def test_a_private_submodule_comes_with_the_projects_credential(
    coordinator: Coordinator, forge: Forge, tmp_path: Path
) -> None:
    app = await forge.new_repository(tmp_path / "app")
    lib = await forge.new_repository(tmp_path / "lib")
    lib_sha = await lib.push({"file": "from the forge"})
    forge.require("x-access-token", "s3cret")
    project, hook = await remote_project(coordinator, app.url)
    await give_token(hook, "s3cret")
    await add_submodule(app.tree, "lib", "../" + lib.url.rpartition("/")[2], lib_sha)
    async with running_agent(coordinator):
        await deliver(hook, app, {".pushrod.yml": workflow_of("cat lib/file")})
        build = await finished(coordinator.admin, project)
    assert (build["state"], build["log"]) == ("succeeded", "from the forge"), build["message"]


async def test_another_host_never_gets_the_projects_credential(
    coordinator: Coordinator, forge: Forge, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    async with open_forge(tmp_path / "elsewhere") as other:
        app = await forge.new_repository(tmp_path / "app")
        public = await other.new_repository(tmp_path / "public")
        sha = await public.push({"file": "public"})
        forge.require("x-access-token", "s3cret")
        project, hook = await remote_project(coordinator, app.url)
        await give_token(hook, "s3cret")
        await add_submodule(app.tree, "lib", public.url, sha)
        async with running_agent(coordinator):
            await deliver(hook, app, {".pushrod.yml": workflow_of("cat lib/file")})
            good = await finished(coordinator.admin, project, 1)
            other.require("somebody", "else")
            await app.tree.git("update-index", "--cacheinfo", f"160000,{'2' * 40},lib")
            await deliver(hook, app, {})
            bad = await finished(coordinator.admin, project, 2)
        assert (good["state"], good["log"]) == ("succeeded", "public"), good["message"]
        assert other.asked
        assert set(other.asked) == {None}
    assert bad["state"] == "failed"
    assert f"submodule lib ({public.url})" in bad["message"]
    assert "the project's credential is sent to its own host alone" in bad["message"]
    assert "s3cret" not in str(bad)


@asynccontextmanager
async def listening_in(target: str) -> AsyncIterator[tuple[str, bytearray]]:
    """A way to the server at that URL: its own URL, and what was sent to the server by it."""
    host, _, port = target.removeprefix("http://").rpartition(":")
    heard = bytearray()

    async def copy(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, note: bytearray
    ) -> None:
        while data := await reader.read(1 << 16):
            note += data
            writer.write(data)
            await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(host, int(port))
        await asyncio.gather(copy(reader, back, heard), copy(there, writer, bytearray()))

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", heard


async def test_a_submodules_host_is_told_of_its_own_commits_alone(
    coordinator: Coordinator, forge: Forge, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    async with (
        open_forge(tmp_path / "elsewhere") as other,
        listening_in(other.url) as (url, heard),
    ):
        lib = await other.new_repository(tmp_path / "lib")
        first = await lib.push({"file": "1"})
        app = await forge.new_repository(tmp_path / "app")
        project, hook = await remote_project(coordinator, app.url)
        await add_submodule(app.tree, "lib", f"{url}/{lib.url.rpartition('/')[2]}", first)
        async with running_agent(coordinator):
            await deliver(hook, app, {".pushrod.yml": workflow_of("cat lib/file")})
            assert (await finished(coordinator.admin, project, 1))["log"] == "1"
            assert first.encode() in heard
            assert b"have " not in heard
            second = await lib.push({"file": "2"})
            await app.tree.git("update-index", "--cacheinfo", f"160000,{second},lib")
            await deliver(hook, app, {"more": "x"})
            assert (await finished(coordinator.admin, project, 2))["log"] == "2"
        assert f"have {first}".encode() in heard
        haves = {line[:45] for line in bytes(heard).split(b"have ")[1:]}
        assert {have[:40].decode() for have in haves} == {first}


async def test_a_host_that_is_away_is_tried_again_and_then_named(
    coordinator: Coordinator, forge: Forge, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    async with open_forge(tmp_path / "elsewhere") as other:
        lib = await other.new_repository(tmp_path / "lib")
        sha = await lib.push({"file": "1"})
    app = await forge.new_repository(tmp_path / "app")
    project, hook = await remote_project(coordinator, app.url)
    await add_submodule(app.tree, "lib", lib.url, sha)
    async with running_agent(coordinator):
        await deliver(hook, app, {".pushrod.yml": ALWAYS})
        build = await finished(coordinator.admin, project)
    assert build["state"] == "failed"
    assert f"submodule lib ({lib.url}): 127.0.0.1:" in build["message"]
    assert "can't be reached" in build["message"]


async def test_all_submodules_together_have_one_end(tmp_path: Path) -> None:
    settings = LOCAL | {"fetch_seconds": 0.25, "fetch_attempts": 100}
    async with open_coordinator(tmp_path, **settings) as coordinator:
        project = await coordinator.admin.new_project(name="app")
        app = await new_work_tree(tmp_path, coordinator.admin, project, "app")
        await add_submodule(app, "lib", "http://127.0.0.1:1/lib.git", "1" * 40)
        async with running_agent(coordinator):
            await pushed(app, {".pushrod.yml": ALWAYS})
            build = await finished(coordinator.admin, project)
    assert "the submodules took more than 1 s in all (4 times fetch_seconds)" in build["message"]


async def test_a_steps_timeout_covers_its_source(
    coordinator: Coordinator, forge: Forge, tmp_path: Path
) -> None:
    silent: list[asyncio.StreamWriter] = []

    async def say_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        silent.append(writer)

    app = await forge.new_repository(tmp_path / "app")
    project, hook = await remote_project(coordinator, app.url)
    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/lib.git"
        await add_submodule(app.tree, "lib", url, "1" * 40)
        async with running_agent(coordinator):
            workflow = ALWAYS.replace("{name: look,", "{name: look, timeout: 1s,")
            await deliver(hook, app, {".pushrod.yml": workflow})
            build = await finished(coordinator.admin, project)
        for writer in silent:
            writer.close()
    assert build["steps"][0]["reason"] == "timeout"
    assert build["message"] == "The source was not here after 1 s, the step's timeout."


async def test_a_private_address_is_refused_for_submodules_too(tmp_path: Path) -> None:
    async with open_coordinator(tmp_path) as coordinator:
        admin = coordinator.admin
        project = await admin.new_project(name="app")
        app = await new_work_tree(tmp_path, admin, project, "app")
        await add_submodule(app, "lib", "https://localhost:1/lib.git", "1" * 40)
        async with running_agent(coordinator):
            await pushed(app, {".pushrod.yml": ALWAYS})
            build = await finished(admin, project)
    assert "allow_private_addresses" in build["message"]


async def test_a_forks_submodules_are_asked_for_without_the_credential(
    coordinator: Coordinator, forge: Forge, tmp_path: Path
) -> None:
    app = await forge.new_repository(tmp_path / "app")
    lib = await forge.new_repository(tmp_path / "lib")
    lib_sha = await lib.push({"file": "private"})
    forge.require("x-access-token", "s3cret")
    _, hook = await remote_project(coordinator, app.url)
    await give_token(hook, "s3cret")
    await add_submodule(app.tree, "lib", "../" + lib.url.rpartition("/")[2], lib_sha)
    build = await build_of_fork(hook, app)
    assert build["state"] == "failed"
    assert "without the project's credential" in build["message"]


async def test_a_fork_gets_nothing_of_what_the_credential_brought_before(
    coordinator: Coordinator, forge: Forge, tmp_path: Path
) -> None:
    app = await forge.new_repository(tmp_path / "app")
    lib = await forge.new_repository(tmp_path / "lib")
    lib_sha = await lib.push({"file": "private"})
    forge.require("x-access-token", "s3cret")
    project, hook = await remote_project(coordinator, app.url)
    await give_token(hook, "s3cret")
    await add_submodule(app.tree, "lib", "../" + lib.url.rpartition("/")[2], lib_sha)
    async with running_agent(coordinator):
        await deliver(hook, app, {".pushrod.yml": ALWAYS})
        assert (await finished(coordinator.admin, project, 1))["state"] == "succeeded"
    build = await build_of_fork(hook, app)
    assert build["state"] == "failed", build["log"]
    assert "without the project's credential" in build["message"]


async def test_a_fork_gets_a_public_submodule_that_is_here_already(
    coordinator: Coordinator, forge: Forge, tmp_path: Path
) -> None:
    app = await forge.new_repository(tmp_path / "app")
    lib = await forge.new_repository(tmp_path / "lib")
    lib_sha = await lib.push({"file": "public"})
    project, hook = await remote_project(coordinator, app.url)
    await add_submodule(app.tree, "lib", "../" + lib.url.rpartition("/")[2], lib_sha)
    async with running_agent(coordinator):
        await deliver(hook, app, {".pushrod.yml": ALWAYS})
        assert (await finished(coordinator.admin, project, 1))["state"] == "succeeded"
    build = await build_of_fork(hook, app)
    assert build["state"] == "succeeded", build["message"]
    assert lines(build["log"])["./lib/file"] == "public"


async def test_a_wrong_url_is_told_though_the_commit_came_from_elsewhere(
    coordinator: Coordinator, forge: Forge, tmp_path: Path
) -> None:
    app = await forge.new_repository(tmp_path / "app")
    lib = await forge.new_repository(tmp_path / "lib")
    other = await forge.new_repository(tmp_path / "other")
    await other.push({"file": "other"})
    lib_sha = await lib.push({"file": "lib"})
    project, hook = await remote_project(coordinator, app.url)
    await add_submodule(app.tree, "lib", lib.url, lib_sha)
    async with running_agent(coordinator):
        await deliver(hook, app, {".pushrod.yml": ALWAYS})
        assert (await finished(coordinator.admin, project, 1))["state"] == "succeeded"
        await set_submodule(app.tree, "lib", url=other.url)
        await deliver(hook, app, {"more": "1"})
        build = await finished(coordinator.admin, project, 2)
    assert build["state"] == "failed"
    assert f"submodule lib ({other.url}) has no commit {lib_sha[:10]}" in build["message"]


async def test_a_fork_reaches_no_project_of_this_coordinator(
    admin: Caller, coordinator: Coordinator, forge: Forge, tmp_path: Path
) -> None:
    private = await hosted(admin, tmp_path, "private")
    sha = await pushed(private, {"key": "k"})
    app = await forge.new_repository(tmp_path / "app")
    _, hook = await remote_project(coordinator, app.url)
    await add_submodule(app.tree, "lib", f"{coordinator.url}/git/default/private.git", sha)
    build = await build_of_fork(hook, app)
    assert build["state"] == "failed"
    assert "a fork's build gets no other project of this coordinator" in build["message"]


async def test_a_project_here_whose_source_is_at_a_forge_lends_its_own_credential(
    admin: Caller, coordinator: Coordinator, forge: Forge, tmp_path: Path
) -> None:
    lib = await forge.new_repository(tmp_path / "forge-lib")
    sha = await lib.push({"file": "private"})
    forge.require("x-access-token", "s3cret")
    _, hook = await remote_project(coordinator, lib.url, "lib")
    await give_token(hook, "s3cret")
    project = await admin.new_project(name="app")
    app = await new_work_tree(tmp_path, admin, project, "app")
    await add_submodule(app, "lib", "../lib.git", sha)
    async with running_agent(coordinator):
        await pushed(app, {".pushrod.yml": workflow_of("cat lib/file")})
        build = await finished(admin, project)
    assert (build["state"], build["log"]) == ("succeeded", "private"), build["message"]
