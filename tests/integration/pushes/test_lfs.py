"""Git LFS: real git-lfs against the coordinator, and what a real agent makes of that."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.engines.buildkit.engine import BuildKitEngine
from tests.conftest import TestEngine
from tests.integration.coordinator_fixture import (
    Caller,
    Coordinator,
    WorkTree,
    git,
    new_work_tree,
    open_coordinator,
    try_git,
)
from tests.integration.pushes.lfs_files import (
    BIG,
    LOCAL,
    LOOK,
    POINTER,
    SEEN,
    SUM,
    app_with_lfs,
    commit_with_lfs,
)
from tests.integration.source_fixture import add_submodule, finished, running_agent, workflow_of
from tests.integration.steps.test_coordinator_script import Bash

pytestmark = pytest.mark.skipif(not shutil.which("git-lfs"), reason="apt-get install git-lfs")


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with open_coordinator(tmp_path, **LOCAL) as coordinator:
        yield coordinator


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
