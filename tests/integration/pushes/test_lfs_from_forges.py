"""Git LFS: files from a forge, through a real agent, and what is not fetched."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.typedefs import Handler

from coordinator.domain.errors import NotYet
from coordinator.domain.pushes.repo_url import RemotePolicy, parse_url
from coordinator.git.remote_lfs import HttpRemoteLfs
from coordinator.git.remotes import FetchLimits
from coordinator.ports import RemoteFailed
from coordinator.services.in_flight import MAX_RUNNING, InFlight
from pipelines_schema.contract_sources import LfsObject
from tests.integration.coordinator_fixture import Coordinator, open_coordinator
from tests.integration.forge_fixture import Forge, open_forge, push_payload, remote_project
from tests.integration.pushes.lfs_files import BIG, LOCAL, LOOK, POINTER, SEEN, SUM
from tests.integration.pushes.submodules import build_of_fork
from tests.integration.source_fixture import (
    add_submodule,
    finished,
    running_agent,
    track_with_lfs,
    workflow_of,
)

pytestmark = pytest.mark.skipif(not shutil.which("git-lfs"), reason="apt-get install git-lfs")


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with open_coordinator(tmp_path, **LOCAL) as coordinator:
        yield coordinator


async def forge_app(
    coordinator: Coordinator, forge: Forge, folder: Path, token: str | None = "s3cret"
) -> dict[str, Any]:
    """A build of a project at the forge, whose one LFS file the forge has."""
    repository = await forge.new_repository(folder / "forge-app")
    await track_with_lfs(repository.tree)
    (repository.tree.folder / "big.bin").write_bytes(BIG)
    (repository.tree.folder / "big.bin").chmod(0o755)
    project, hook = await remote_project(coordinator, repository.url)
    forge.require("x-access-token", "s3cret")
    if token is not None:
        path = f"/api/projects/{project['id']}/credential"
        (await coordinator.admin.call("PUT", path, json={"token": token})).expect(204)
    await repository.tree.commit({".pushrod.yml": LOOK, "lookalike": POINTER})
    await repository.tree.git("push", "-q", "--no-verify", "origin", "HEAD:main")
    sha = (await repository.tree.git("rev-parse", "HEAD")).output
    async with running_agent(coordinator):
        await hook.github("push", push_payload(repository.url, sha))
        return await finished(coordinator.admin, project)


async def test_a_forges_lfs_files_come_with_the_projects_credential(
    coordinator: Coordinator, forge: Forge, tmp_path: Path
) -> None:
    forge.lfs_objects[SUM] = BIG
    build = await forge_app(coordinator, forge, tmp_path)
    assert (build["state"], build["log"]) == ("succeeded", SEEN), build["message"]
    assert [method for method, _ in forge.lfs_asked] == ["POST", "GET"]
    assert {authorization for _, authorization in forge.lfs_asked} == {forge.authorization}


async def test_a_fork_gets_no_lfs_file_that_came_from_another_place(
    coordinator: Coordinator, forge: Forge, tmp_path: Path
) -> None:
    """A trusted build brings a private submodule's file; the fork only copies its pointer."""
    forge.lfs_objects[SUM] = BIG
    lib = await forge.new_repository(tmp_path / "lib")
    await track_with_lfs(lib.tree)
    (lib.tree.folder / "big.bin").write_bytes(BIG)
    await lib.tree.commit({})
    await lib.tree.git("push", "-q", "--no-verify", "origin", "HEAD:main")
    lib_sha = (await lib.tree.git("rev-parse", "HEAD")).output
    app = await forge.new_repository(tmp_path / "app")
    project, hook = await remote_project(coordinator, app.url)
    await add_submodule(app.tree, "lib", lib.url, lib_sha)
    sha = await app.push({".pushrod.yml": workflow_of("sha256sum < lib/big.bin | cut -c1-64")})
    async with running_agent(coordinator):
        await hook.github("push", push_payload(app.url, sha))
        trusted = await finished(coordinator.admin, project)
    assert trusted["log"] == f"{SUM}\n", trusted["message"]
    del forge.lfs_objects[SUM]
    await app.tree.git("rm", "-rqf", "lib", ".gitmodules")
    await app.tree.commit({".gitattributes": "*.bin filter=lfs", "big.bin": POINTER})
    build = await build_of_fork(hook, app)
    assert build["state"] == "failed", build["log"]
    assert "Object does not exist" in build["message"]


@pytest.mark.parametrize(("more", "has"), [(1, str(len(BIG))), (-1, "more")])
async def test_a_forges_object_of_another_size_fails_the_step_in_words(
    coordinator: Coordinator, forge: Forge, tmp_path: Path, more: int, has: str
) -> None:
    forge.lfs_objects[SUM] = BIG
    app = await forge.new_repository(tmp_path / "app")
    project, hook = await remote_project(coordinator, app.url)
    pointer = POINTER.replace(str(len(BIG)), str(len(BIG) + more))
    attributes = {".gitattributes": "*.bin filter=lfs", "big.bin": pointer}
    sha = await app.push({".pushrod.yml": workflow_of("wc -c big.bin"), **attributes})
    async with running_agent(coordinator):
        await hook.github("push", push_payload(app.url, sha))
        build = await finished(coordinator.admin, project)
    said = f"says {len(BIG) + more} bytes, the object has {has}"
    assert build["state"] == "failed"
    assert said in build["message"]


async def test_storage_elsewhere_gets_no_credential(
    coordinator: Coordinator, forge: Forge, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    async with open_forge(tmp_path / "elsewhere") as storage:
        storage.lfs_objects[SUM] = forge.lfs_objects[SUM] = BIG
        forge.lfs_storage = f"{storage.url}/lfs"
        build = await forge_app(coordinator, forge, tmp_path)
        assert (build["state"], build["log"]) == ("succeeded", SEEN), build["message"]
        assert storage.lfs_asked == [("GET", None)]


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        ("missing", "Object does not exist"),
        ("other bytes", f"what came for {SUM[:12]} is not it"),
        ("more bytes", f"the pointer of {SUM[:12]} says {len(BIG)} bytes, the object has more"),
        ("redirect", "redirects, which is not followed"),
        ("file", "names a URL that is not fetched"),
        ("nobody", "can't be reached"),
    ],
)
async def test_a_forge_in_trouble_fails_the_step_in_words(
    coordinator: Coordinator, forge: Forge, tmp_path: Path, trouble: str, said: str
) -> None:
    content = {"other bytes": BIG[::-1], "more bytes": BIG + b"x"}.get(trouble, BIG)
    if trouble != "missing":
        forge.lfs_objects[SUM] = content
    if trouble == "file":
        forge.lfs_storage = "file:///etc"
    if trouble == "nobody":
        forge.lfs_storage = "http://127.0.0.1:1/lfs"
    (tmp_path / "elsewhere").mkdir()
    async with open_forge(tmp_path / "elsewhere") as storage:
        storage.redirect = "http://127.0.0.1:1/"
        if trouble == "redirect":
            forge.lfs_storage = f"{storage.url}/lfs"
        build = await forge_app(coordinator, forge, tmp_path)
    assert build["state"] == "failed"
    assert "LFS files (" in build["message"]
    assert said in build["message"]
    assert "s3cret" not in str(build)


@pytest.mark.parametrize(
    ("url", "allowed", "said"),
    [
        ("git@forge.example:anna/app.git", True, "Git LFS is fetched by https alone"),
        ("file:///srv/app.git", True, "Git LFS is fetched by https alone"),
        ("http://127.0.0.1:1/app.git", False, "plain http is fetched only where"),
        ("https://127.0.0.1:1/app.git", False, "is an address of this machine"),
        ("https://localhost:1/app.git", False, "is an address of this machine"),
        ("https://127.1/app.git", False, "is no host name"),
        ("https://2130706433/app.git", False, "is no host name"),
        ("https://0177.0.0.1/app.git", False, "is no host name"),
        ("https://0x7f.1/app.git", False, "is no host name"),
        ("https://0/app.git", True, "is no host name"),
    ],
)
async def test_lfs_goes_by_the_same_policy_as_git(url: str, allowed: bool, said: str) -> None:
    policy = RemotePolicy(http=allowed, file=allowed, private_addresses=allowed)
    limits = FetchLimits(seconds=5, stalled_seconds=5, max_bytes=1000)
    remote = HttpRemoteLfs(policy=policy, limits=limits)

    async def keep(*_: object) -> None:
        raise AssertionError("nothing comes from there")

    with pytest.raises(RemoteFailed, match=said) as refused:
        await remote.download(parse_url(url), None, [LfsObject(oid=SUM, size=1)], keep)
    assert refused.value.permanent


LIMITS = FetchLimits(seconds=0.5, stalled_seconds=30, max_bytes=1000)
HERE = RemotePolicy(http=True, private_addresses=True)


async def test_a_server_that_trickles_is_given_up(unused_tcp_port: int) -> None:
    async def trickle(request: web.Request) -> web.StreamResponse:
        if request.method == "POST":
            href = f"http://127.0.0.1:{unused_tcp_port}/object"
            [item] = (await request.json())["objects"]
            return web.json_response(
                {"objects": [{**item, "actions": {"download": {"href": href}}}]}
            )
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x")
            await asyncio.sleep(0.02)

    async def keep(_: LfsObject, chunks: AsyncIterator[bytes]) -> None:
        async for _chunk in chunks:
            pass

    remote = HttpRemoteLfs(policy=HERE, limits=LIMITS)
    url = parse_url(f"http://127.0.0.1:{unused_tcp_port}/app.git")
    async with serving(trickle, unused_tcp_port):
        with pytest.raises(RemoteFailed, match=r"took more than 0\.5 s \(fetch_seconds\)"):
            await remote.download(url, None, [LfsObject(oid=SUM, size=512)], keep)


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0177.0.0.1", "0x7f000001", "0", "0."])
async def test_a_download_from_an_oddly_written_address_is_refused_for_good(
    unused_tcp_port: int, host: str
) -> None:
    async def send_astray(request: web.Request) -> web.StreamResponse:
        [item] = (await request.json())["objects"]
        href = f"http://{host}:{unused_tcp_port}/object"
        return web.json_response({"objects": [{**item, "actions": {"download": {"href": href}}}]})

    async def keep(*_: object) -> None:
        raise AssertionError("nothing comes from there")

    remote = HttpRemoteLfs(policy=HERE, limits=replace(LIMITS, seconds=30))
    url = parse_url(f"http://127.0.0.1:{unused_tcp_port}/app.git")
    async with serving(send_astray, unused_tcp_port):
        with pytest.raises(RemoteFailed, match="is no host name") as refused:
            await remote.download(url, None, [LfsObject(oid=SUM, size=512)], keep)
    assert refused.value.permanent


async def test_objects_over_max_fetch_bytes_are_not_asked_for() -> None:
    async def keep(*_: object) -> None:
        raise AssertionError("nothing is asked for")

    remote = HttpRemoteLfs(policy=HERE, limits=LIMITS)
    objects = [LfsObject(oid=f"{n:064x}", size=501) for n in range(2)]
    with pytest.raises(RemoteFailed, match=r"1002 bytes are more than max_fetch_bytes") as refused:
        await remote.download(parse_url("http://127.0.0.1:1/a.git"), None, objects, keep)
    assert refused.value.permanent


@asynccontextmanager
async def serving(handler: Handler, port: int) -> AsyncIterator[None]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield
    finally:
        await runner.cleanup()


async def test_one_project_has_few_tasks_under_way_and_others_do_not_wait() -> None:
    tasks: InFlight[str] = InFlight()
    end = asyncio.Event()

    async def slow() -> str:
        await end.wait()
        return "slow"

    async def quick() -> str:
        return "quick"

    async def ask(number: int) -> str:
        return await tasks.result("one", number, slow)

    asked = [asyncio.create_task(ask(number)) for number in range(MAX_RUNNING)]
    await asyncio.sleep(0)
    with pytest.raises(NotYet):
        await tasks.result("one", "more", quick)
    assert await tasks.result("another", 1, quick) == "quick"
    end.set()
    assert await asyncio.gather(*asked) == ["slow"] * MAX_RUNNING
    assert await tasks.result("one", "more", quick) == "quick"
    await tasks.close()
