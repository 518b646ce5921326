"""Submodules hosted here, through a coordinator and an agent: where they lead, and where never."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.coordinator_fixture import (
    Caller,
    Coordinator,
    new_work_tree,
    open_coordinator,
)
from tests.integration.pushes.submodules import ALWAYS, LOCAL, hosted, lines, pushed
from tests.integration.source_fixture import (
    add_submodule,
    finished,
    running_agent,
    set_submodule,
    workflow_of,
)
from tests.integration.steps.test_coordinator_script import Bash


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with open_coordinator(tmp_path, **LOCAL) as coordinator:
        yield coordinator


async def test_submodules_within_submodules_are_laid_out_where_the_trees_name_them(
    admin: Caller, coordinator: Coordinator, tmp_path: Path
) -> None:
    inner = await hosted(admin, tmp_path, "inner")
    inner_sha = await pushed(inner, {"deep": "3"})
    lib = await hosted(admin, tmp_path, "lib")
    await add_submodule(lib, "in ner/x", "../inner.git", inner_sha)
    lib_sha = await pushed(lib, {"file": "2"})
    app_project = await admin.new_project(name="app")
    app = await new_work_tree(tmp_path, admin, app_project, "app")
    await add_submodule(app, "third/lib", "../lib.git", lib_sha)
    await add_submodule(app, "again", f"{coordinator.url}/git/default/inner.git", inner_sha)
    async with running_agent(coordinator):
        await pushed(
            app,
            {
                ".pushrod.yml": workflow_of(
                    "cat third/lib/file again/deep; cat third/lib/in*/x/deep"
                )
            },
        )
        build = await finished(admin, app_project)
    assert (build["state"], build["log"]) == ("succeeded", "233"), build["message"]


async def test_a_tree_follows_its_submodules_from_commit_to_commit(
    admin: Caller, coordinator: Coordinator, tmp_path: Path
) -> None:
    lib = await hosted(admin, tmp_path, "lib")
    first = await pushed(lib, {"a": "1", "same": "s"})
    second = await pushed(lib, {"a": "2", "b": "2"})
    project = await admin.new_project(name="app")
    app = await new_work_tree(tmp_path, admin, project, "app")
    await add_submodule(app, "lib", "../lib.git", first)
    seen = []
    async with running_agent(coordinator):
        await pushed(app, {".pushrod.yml": ALWAYS})
        seen.append(lines((await finished(admin, project, 1))["log"]))
        await app.git("update-index", "--cacheinfo", f"160000,{second},lib")
        await pushed(app, {})
        seen.append(lines((await finished(admin, project, 2))["log"]))
        await set_submodule(app, "lib", update="none")
        await pushed(app, {})
        seen.append(lines((await finished(admin, project, 3))["log"]))
        await app.git("rm", "-rqf", "lib", ".gitmodules")
        await pushed(app, {"lib": "a file now"})
        seen.append(lines((await finished(admin, project, 4))["log"]))
    ours = [{name: text for name, text in one.items() if "lib" in name} for one in seen]
    assert ours == [
        {"./lib/a": "1", "./lib/same": "s"},
        {"./lib/a": "2", "./lib/b": "2", "./lib/same": "s"},
        {},
        {"./lib": "a file now"},
    ]


async def test_another_accounts_project_is_no_submodule(
    admin: Caller, coordinator: Coordinator, tmp_path: Path
) -> None:
    secret = await hosted(admin, tmp_path, "secret", "other")
    sha = await pushed(secret, {"key": "k"})
    project = await admin.new_project("acme", "app")
    app = await new_work_tree(tmp_path, admin, project, "app")
    await add_submodule(app, "lib", "../../other/secret.git", sha)
    async with running_agent(coordinator):
        await pushed(app, {".pushrod.yml": ALWAYS})
        build = await finished(admin, project)
    assert build["state"] == "failed"
    assert "submodule lib (/git/other/secret.git): there is no such project" in build["message"]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ext::sh -c touch% /tmp/owned", "a repository URL is one line without spaces"),
        ("file:///etc", "files are fetched only where the operator set"),
        ("../../../../../etc", "leads above the root"),
        ("../../../repositories/x", "leads to no project"),
        ("git://127.0.0.1/x.git", "the scheme 'git' is not fetched"),
        ("https://user:word@127.0.0.1/x.git", "no user or token in the URL"),
        ("ssh://-oProxyCommand=x/y", "the URL names no host"),
    ],
)
async def test_a_hostile_url_fails_the_step_by_name(
    admin: Caller, coordinator: Coordinator, tmp_path: Path, url: str, said: str
) -> None:
    project = await admin.new_project(name="app")
    app = await new_work_tree(tmp_path, admin, project, "app")
    await add_submodule(app, "lib", url, "1" * 40)
    async with running_agent(coordinator):
        await pushed(app, {".pushrod.yml": ALWAYS})
        build = await finished(admin, project)
    assert build["state"] == "failed"
    assert "submodule lib (" in build["message"]
    assert said in build["message"]


async def test_a_url_that_is_an_option_is_refused_with_its_push(
    admin: Caller, tmp_path: Path
) -> None:
    app = await hosted(admin, tmp_path, "app")
    await add_submodule(app, "lib", "--upload-pack=touch /tmp/owned", "1" * 40)
    with pytest.raises(AssertionError, match="disallowed submodule url"):
        await pushed(app, {".pushrod.yml": ALWAYS})


async def test_a_command_as_update_is_refused_with_its_push(admin: Caller, tmp_path: Path) -> None:
    app = await hosted(admin, tmp_path, "app")
    await add_submodule(app, "lib", "../lib.git", "1" * 40)
    await set_submodule(app, "lib", update="!touch /tmp/owned")
    with pytest.raises(AssertionError, match="disallowed submodule update"):
        await pushed(app, {".pushrod.yml": ALWAYS})


async def test_paths_and_includes_of_gitmodules_lead_nowhere(
    admin: Caller, coordinator: Coordinator, tmp_path: Path
) -> None:
    lib = await hosted(admin, tmp_path, "lib")
    sha = await pushed(lib, {"file": "1"})
    project = await admin.new_project(name="app")
    app = await new_work_tree(tmp_path, admin, project, "app")
    await add_submodule(app, "lib", "../lib.git", sha)
    await set_submodule(app, "up", path="../../outside", url="../lib.git")
    await set_submodule(app, "abs", path="/etc/outside", url="../lib.git")
    await set_submodule(app, "file", path=".pushrod.yml", url="../lib.git")
    await app.git("config", "-f", ".gitmodules", "include.path", "/etc/passwd")
    async with running_agent(coordinator):
        await pushed(app, {".pushrod.yml": ALWAYS})
        build = await finished(admin, project)
    assert build["state"] == "succeeded", build["message"]
    assert lines(build["log"])["./lib/file"] == "1"
    assert "outside" not in build["log"]


async def test_of_two_sections_with_one_path_the_last_counts(
    admin: Caller, coordinator: Coordinator, tmp_path: Path
) -> None:
    lib = await hosted(admin, tmp_path, "lib")
    sha = await pushed(lib, {"file": "1"})
    project = await admin.new_project(name="app")
    app = await new_work_tree(tmp_path, admin, project, "app")
    await set_submodule(app, "old", path="lib", url="../gone.git")
    await add_submodule(app, "lib", "../lib.git", sha)
    async with running_agent(coordinator):
        await pushed(app, {".pushrod.yml": workflow_of("cat lib/file")})
        build = await finished(admin, project)
    assert (build["state"], build["log"]) == ("succeeded", "1"), build["message"]


async def test_a_broken_gitmodules_and_a_missing_commit_are_told(
    admin: Caller, coordinator: Coordinator, tmp_path: Path
) -> None:
    lib = await hosted(admin, tmp_path, "lib")
    await pushed(lib, {"file": "1"})
    project = await admin.new_project(name="app")
    app = await new_work_tree(tmp_path, admin, project, "app")
    await add_submodule(app, "lib", "../lib.git", "1" * 40)
    async with running_agent(coordinator):
        await pushed(app, {".pushrod.yml": ALWAYS})
        missing = (await finished(admin, project, 1))["message"]
        await pushed(app, {".gitmodules": '[submodule "lib'})
        broken = (await finished(admin, project, 2))["message"]
    assert "submodule lib (/git/default/lib.git) has no commit 1111111111: push it there" in missing
    assert ".gitmodules can't be read" in broken


async def test_refs_that_keep_submodules_are_seen_and_moved_by_nobody(
    admin: Caller, coordinator: Coordinator, tmp_path: Path
) -> None:
    lib = await hosted(admin, tmp_path, "lib")
    sha = await pushed(lib, {"file": "1"})
    project = await admin.new_project(name="app")
    app = await new_work_tree(tmp_path, admin, project, "app")
    await add_submodule(app, "lib", "../lib.git", sha)
    async with running_agent(coordinator):
        await pushed(app, {".pushrod.yml": ALWAYS})
        await finished(admin, project)
    assert "pushrod" not in (await app.git("ls-remote", "origin")).output
    with pytest.raises(AssertionError, match="hidden ref"):
        await app.git("push", "origin", "HEAD:refs/pushrod/x")
    await pushed(app, {"more": "1"})
    entries = (await admin.get("/api/audit-logs?limit=100")).json["auditLogs"]
    assert "refs/pushrod" not in str(entries)


async def test_a_worker_of_curl_and_bash_has_submodules_too(
    admin: Caller, coordinator: Coordinator, tmp_path: Path
) -> None:
    inner = await hosted(admin, tmp_path, "inner")
    inner_sha = await pushed(inner, {"deep": "3"})
    lib = await hosted(admin, tmp_path, "lib")
    await add_submodule(lib, "in", "../inner.git", inner_sha)
    lib_sha = await pushed(lib, {"file": "2"})
    project = await admin.new_project(name="app")
    app = await new_work_tree(tmp_path, admin, project, "app")
    await add_submodule(app, "a lib", "../lib.git", lib_sha)
    await pushed(app, {".pushrod.yml": workflow_of("cat a*/file a*/in/deep")})
    await add_submodule(app, "gone", "../nothing.git", "1" * 40)
    await pushed(app, {})
    builds = sorted(await admin.builds(project), key=lambda build: build["number"])
    scripts = []
    for build in builds:
        step = (await admin.build(build["id"]))["steps"][0]["id"]
        scripts.append((await admin.get(f"/api/runner/{step}")).expect(200).body)
    good = await Bash(tmp_path / "worker").run(scripts[0])
    assert (good.exit_code, good.output) == (0, "23"), good.errors
    bad = await Bash(tmp_path / "worker2").run(scripts[1])
    assert bad.exit_code != 0
    assert "submodule gone (/git/default/nothing.git): there is no such project" in bad.errors
