"""Git LFS: real git-lfs against the coordinator, and files from a forge, through a real agent."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.typedefs import Handler

from agent.engines.buildkit.engine import BuildKitEngine
from coordinator.domain.errors import NotYet
from coordinator.domain.pushes.repo_url import RemotePolicy, parse_url
from coordinator.git.remote_lfs import HttpRemoteLfs
from coordinator.git.remotes import FetchLimits
from coordinator.ports import RemoteFailed
from coordinator.services.in_flight import MAX_RUNNING, InFlight
from pipelines_schema.contract_sources import LfsObject
from tests.conftest import TestEngine
from tests.integration.coordinator_fixture import (
    Answer,
    Caller,
    Coordinator,
    WorkTree,
    git,
    new_work_tree,
    open_coordinator,
    try_git,
)
from tests.integration.forge_fixture import Forge, open_forge, push_payload, remote_project
from tests.integration.pushes.submodules import build_of_fork
from tests.integration.source_fixture import (
    add_submodule,
    finished,
    running_agent,
    track_with_lfs,
    workflow_of,
)
from tests.integration.steps.test_coordinator_script import Bash

LOCAL = {
    "allow_http_repositories": True,
    "allow_private_addresses": True,
    "fetch_retry_seconds": 0.05,
    "fetch_attempts": 2,
}
BIG = bytes(range(256)) * 5000
SUM = hashlib.sha256(BIG).hexdigest()
LOOK = workflow_of("sha256sum big.bin | cut -c1-64; stat -c %a big.bin; head -c 7 lookalike")
POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{SUM}\nsize {len(BIG)}\n"
SEEN = f"{SUM}\n755\nversion"

pytestmark = pytest.mark.skipif(not shutil.which("git-lfs"), reason="apt-get install git-lfs")


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with open_coordinator(tmp_path, **LOCAL) as coordinator:
        yield coordinator


@pytest.fixture
def admin(coordinator: Coordinator) -> Caller:
    return coordinator.admin


@pytest.fixture
async def forge(tmp_path: Path) -> AsyncIterator[Forge]:
    async with open_forge(tmp_path) as forge:
        yield forge


async def commit_with_lfs(tree: WorkTree, **files: str | bytes) -> str:
    """`big.bin` is kept by LFS and may be executed; `lookalike` is only the text of a pointer."""
    await track_with_lfs(tree)
    (tree.folder / "big.bin").write_bytes(BIG)
    (tree.folder / "big.bin").chmod(0o755)
    return await tree.commit({"lookalike": POINTER, **files})


async def app_with_lfs(
    admin: Caller, folder: Path, workflow: str = LOOK
) -> tuple[dict[str, Any], WorkTree]:
    project = await admin.new_project(name="app")
    tree = await new_work_tree(folder, admin, project, "app")
    await commit_with_lfs(tree, **{".pushrod.yml": workflow})
    return project, tree


async def test_what_git_lfs_pushes_a_step_finds_in_its_workspace(
    admin: Caller, coordinator: Coordinator, tmp_path: Path
) -> None:
    project, tree = await app_with_lfs(admin, tmp_path)
    async with running_agent(coordinator):
        said = await tree.push()
        build = await finished(admin, project)
    assert "locking" not in said.errors
    assert (build["state"], build["log"]) == ("succeeded", SEEN), build["message"]


@pytest.mark.engine
async def test_containers_find_lfs_files_and_submodules_too(
    admin: Caller, coordinator: Coordinator, tmp_path: Path, buildkit: TestEngine
) -> None:
    lib_project = await admin.new_project(name="lib")
    lib = await new_work_tree(tmp_path, admin, lib_project, "lib")
    lib_sha = await lib.commit({"file": "of the submodule"})
    await lib.push()
    script = "sha256sum big.bin | cut -c1-64; cat lib/file"
    workflow = workflow_of(script, image=buildkit.image)
    project, tree = await app_with_lfs(admin, tmp_path, workflow)
    await add_submodule(tree, "lib", "../lib.git", lib_sha)
    await tree.commit({})
    engine = BuildKitEngine(buildkit.address, data_dir=tmp_path / "engine", log_limits_lifted=True)
    async with running_agent(coordinator, engine):
        await tree.push()
        build = await finished(admin, project)
    assert build["log"] == f"{SUM}\nof the submodule", build["message"]


async def test_a_clone_by_git_lfs_has_the_content(
    admin: Caller, coordinator: Coordinator, tmp_path: Path
) -> None:
    project, tree = await app_with_lfs(admin, tmp_path)
    await tree.push()
    copy = WorkTree(tmp_path / "copy", tree.environment | {"GIT_LFS_SKIP_SMUDGE": "1"})
    await git(
        tmp_path, "clone", "-q", project["pushUrl"], str(copy.folder), environment=copy.environment
    )
    assert (copy.folder / "big.bin").read_text() == POINTER
    await copy.git("lfs", "install", "--local")
    await copy.git("lfs", "pull")
    assert (copy.folder / "big.bin").read_bytes() == BIG
    viewer = await admin.new_token(role="viewer", account="default")
    reader = coordinator.push_environment(viewer)
    refused = await try_git(tree.folder, "lfs", "push", "--all", "origin", environment=reader)
    assert refused.exit_code != 0
    assert "no right to build" in refused.errors


async def test_a_tree_follows_lfs_files_and_attributes_from_commit_to_commit(
    admin: Caller, coordinator: Coordinator, tmp_path: Path
) -> None:
    script = "for f in *.bin; do echo $f $(sha256sum $f | cut -c1-64); done"
    project, tree = await app_with_lfs(admin, tmp_path, workflow_of(script))
    other = hashlib.sha256(b"other").hexdigest()
    pointer_sum = hashlib.sha256(POINTER.encode()).hexdigest()
    async with running_agent(coordinator):
        await tree.push()
        first = await finished(admin, project, 1)
        await tree.commit({"small.bin": b"other", "same.bin": BIG})
        await tree.push()
        second = await finished(admin, project, 2)
        # Without its attribute a pointer is a text like any other.
        await tree.git("rm", "-q", "--cached", "small.bin", "same.bin")
        await tree.commit(
            {".gitattributes": "", "big.bin": POINTER, "small.bin": b"x", "same.bin": b"y"}
        )
        await tree.git("push", "origin", "main")
        third = await finished(admin, project, 3)
    assert first["log"] == f"big.bin {SUM}\n"
    assert second["log"] == f"big.bin {SUM}\nsame.bin {SUM}\nsmall.bin {other}\n"
    assert third["log"].startswith(f"big.bin {pointer_sum}\n"), third


async def test_an_object_that_was_never_pushed_fails_the_step_by_name(
    admin: Caller, coordinator: Coordinator, tmp_path: Path
) -> None:
    project, tree = await app_with_lfs(admin, tmp_path)
    async with running_agent(coordinator):
        await tree.git("push", "--no-verify", "origin", "main")
        build = await finished(admin, project)
    assert build["state"] == "failed"
    assert f"{SUM[:12]} of {len(BIG)} bytes was never pushed" in build["message"]
    assert "git lfs push --all origin" in build["message"]


async def test_a_submodules_lfs_files_come_from_its_own_project(
    admin: Caller, coordinator: Coordinator, tmp_path: Path
) -> None:
    lib_project = await admin.new_project(name="lib")
    lib = await new_work_tree(tmp_path, admin, lib_project, "lib")
    lib_sha = await commit_with_lfs(lib)
    await lib.push()
    project = await admin.new_project(name="app")
    app = await new_work_tree(tmp_path, admin, project, "app")
    await add_submodule(app, "the lib", "../lib.git", lib_sha)
    await app.commit({".pushrod.yml": workflow_of("sha256sum < the*/big.bin | cut -c1-64")})
    async with running_agent(coordinator):
        await app.push()
        build = await finished(admin, project)
    assert build["log"] == f"{SUM}\n", build["message"]


async def test_a_worker_of_curl_and_bash_has_lfs_files_too(
    admin: Caller, coordinator: Coordinator, tmp_path: Path
) -> None:
    lib_project = await admin.new_project(name="lib")
    lib = await new_work_tree(tmp_path, admin, lib_project, "lib")
    lib_sha = await commit_with_lfs(lib)
    await lib.push()
    more = "; sha256sum < l*b/big.bin | cut -c1-64"
    project, tree = await app_with_lfs(
        admin, tmp_path, LOOK.replace("lookalike", "lookalike" + more)
    )
    await add_submodule(tree, "l b", "../lib.git", lib_sha)
    await tree.commit({})
    await tree.push()
    [build] = await admin.builds(project)
    step = (await admin.build(build["id"]))["steps"][0]["id"]
    script = (await admin.get(f"/api/runner/{step}")).expect(200).body
    ran = await Bash(tmp_path / "worker").run(script)
    assert (ran.exit_code, ran.output) == (0, SEEN + SUM + "\n"), ran.errors


# At a forge


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


@pytest.mark.parametrize("more", [1, -1])
async def test_a_pointer_with_a_wrong_size_fails_the_step_in_words(
    admin: Caller, coordinator: Coordinator, tmp_path: Path, more: int
) -> None:
    project, tree = await app_with_lfs(admin, tmp_path, workflow_of("wc -c big.bin"))
    await tree.push()
    pointer = POINTER.replace(str(len(BIG)), str(len(BIG) + more))
    await tree.git("rm", "-q", "big.bin")
    await tree.git("config", "--unset-all", "filter.lfs.clean")
    await tree.git("config", "--unset-all", "filter.lfs.process")
    await tree.git("config", "filter.lfs.required", "false")
    await tree.commit({"big.bin": pointer})
    await tree.git("push", "-q", "--no-verify", "origin", "main")
    async with running_agent(coordinator):
        build = await finished(admin, project, 2)
    said = f"says {len(BIG) + more} bytes, the object has {len(BIG)}"
    assert build["state"] == "failed"
    assert said in build["message"]


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


# The batch API


async def batch(caller: Caller, project: dict[str, Any], body: object) -> Answer:
    return await caller.call(
        "POST",
        f"/git/default/{project['slug']}.git/info/lfs/objects/batch",
        data=io.BytesIO(body if isinstance(body, bytes) else json.dumps(body).encode()),
        headers={"Content-Type": "application/vnd.git-lfs+json"},
    )


async def test_an_upload_is_kept_only_if_it_is_what_it_says(admin: Caller) -> None:
    project = await admin.new_project(name="app")
    url = f"/git/default/app.git/info/lfs/objects/{SUM}"
    wrong = await admin.call("PUT", url, data=io.BytesIO(BIG[1:]))
    assert wrong.expect(422).headers["Content-Type"].startswith("application/vnd.git-lfs+json")
    assert SUM in wrong.json["message"]
    (await admin.get(url)).expect(404)
    (await admin.call("PUT", url, data=io.BytesIO(BIG))).expect(200)
    assert (await admin.get(url)).expect(200).body == BIG
    item = {"oid": SUM, "size": len(BIG)}
    again = await batch(admin, project, {"operation": "upload", "objects": [item]})
    assert again.expect(200).json["objects"] == [item]


@pytest.mark.parametrize("operation", ["upload", "download"])
async def test_a_batch_that_names_another_size_is_told_the_objects(
    admin: Caller, operation: str
) -> None:
    project = await admin.new_project(name="app")
    url = f"/git/default/app.git/info/lfs/objects/{SUM}"
    (await admin.call("PUT", url, data=io.BytesIO(BIG))).expect(200)
    item = {"oid": SUM, "size": len(BIG) + 1}
    answer = await batch(admin, project, {"operation": operation, "objects": [item]})
    [told] = answer.expect(200).json["objects"]
    assert told["error"]["code"] == 422
    assert f"says {len(BIG) + 1} bytes, the object has {len(BIG)}" in told["error"]["message"]


async def test_a_digest_alone_opens_nothing_of_another_project(admin: Caller) -> None:
    await admin.new_project(name="app")
    other = await admin.new_project(name="other")
    path = f"/info/lfs/objects/{SUM}"
    (await admin.call("PUT", f"/git/default/app.git{path}", data=io.BytesIO(BIG))).expect(200)
    (await admin.get(f"/git/default/other.git{path}")).expect(404)
    item = {"oid": SUM, "size": len(BIG)}
    wanted = await batch(admin, other, {"operation": "download", "objects": [item]})
    assert wanted.expect(200).json["objects"][0]["error"]["code"] == 404
    offered = await batch(admin, other, {"operation": "upload", "objects": [item]})
    assert "upload" in offered.expect(200).json["objects"][0]["actions"]


async def test_an_object_over_the_limit_is_refused_before_and_while_it_is_sent(
    tmp_path: Path,
) -> None:
    async with open_coordinator(tmp_path, max_lfs_bytes=1000) as coordinator:
        admin = coordinator.admin
        project = await admin.new_project(name="app")
        item = {"oid": SUM, "size": len(BIG)}
        answer = await batch(admin, project, {"operation": "upload", "objects": [item]})
        assert "max_lfs_bytes" in answer.json["objects"][0]["error"]["message"]
        url = f"/git/default/app.git/info/lfs/objects/{SUM}"
        (await admin.call("PUT", url, data=io.BytesIO(BIG))).expect(413)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        {"operation": "delete", "objects": []},
        {"operation": "download"},
        {"operation": "download", "objects": [{"oid": "../x", "size": 1}]},
        {"operation": "download", "objects": [{"oid": SUM, "size": -1}]},
        {"operation": "download", "objects": [{"oid": SUM, "size": 1 << 63}]},
        {"operation": "download", "objects": [{"oid": SUM, "size": 1}] * 1001},
        {"operation": "download", "objects": [], "hash_algo": "md5"},
        {"operation": "download", "objects": [], "transfers": ["ssh"]},
    ],
)
async def test_a_batch_that_is_none_is_refused_in_words(admin: Caller, body: object) -> None:
    project = await admin.new_project(name="app")
    answer = await batch(admin, project, body)
    assert answer.status == 422, answer.text
    assert answer.json["message"]


async def test_locks_are_declined_so_that_git_lfs_goes_on(admin: Caller) -> None:
    await admin.new_project(name="app")
    answer = await admin.post("/git/default/app.git/info/lfs/locks/verify")
    assert answer.status == 501


@pytest.mark.parametrize("command", [("locks",), ("lock", "big.bin")])
async def test_a_person_who_locks_a_file_is_told_that_there_are_no_locks(
    admin: Caller, tmp_path: Path, command: tuple[str, ...]
) -> None:
    _, tree = await app_with_lfs(admin, tmp_path)
    told = await try_git(tree.folder, "lfs", *command, environment=tree.environment)
    assert "files can't be locked here" in told.errors
