"""Which branch a project goes by where none is named: hosted here, and at a forge."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.coordinator_fixture import (
    ONE_STEP,
    Caller,
    Coordinator,
    WorkTree,
    new_work_tree,
    open_coordinator,
)
from tests.integration.forge_fixture import Repository, open_forge, push_payload, remote_project
from tests.integration.pushes.pushers import remote_lines
from tests.integration.pushes.test_webhook_commands import command, said

SETTINGS: dict[str, Any] = {"allow_http_repositories": True, "allow_private_addresses": True}
OF_SOURCES = """on: {push: {paths: ["src/**"]}, manual: {}}
steps: [{name: a, image: debian, run: "true"}]
"""


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with open_coordinator(tmp_path, **SETTINGS) as coordinator:
        yield coordinator


@pytest.fixture
def admin(coordinator: Coordinator) -> Caller:
    return coordinator.admin


@pytest.fixture
async def project(admin: Caller) -> dict[str, Any]:
    return await admin.new_project("default", "shop")


@pytest.fixture
async def tree(tmp_path: Path, admin: Caller, project: dict[str, Any]) -> WorkTree:
    return await new_work_tree(tmp_path, admin, project)


async def shown_branch(admin: Caller, project: dict[str, Any]) -> str | None:
    return (await admin.get(f"/api/projects/{project['id']}")).expect(200).json.get("defaultBranch")


async def built_branch(admin: Caller, project: dict[str, Any]) -> str:
    [workflow] = (await admin.get(f"/api/projects/{project['id']}/workflows")).json
    body = {"workflowId": workflow["id"]}
    answer = await admin.post(f"/api/projects/{project['id']}/builds", body)
    return str(answer.expect(201).json["branch"])


async def test_the_first_pushed_branch_is_built_cloned_and_compared_with(
    tmp_path: Path, admin: Caller, project: dict[str, Any], tree: WorkTree
) -> None:
    assert await shown_branch(admin, project) is None
    await tree.commit({".pushrod.yml": OF_SOURCES, "src/a": "1"})
    pushed = await tree.push("main:trunk")
    assert remote_lines(pushed.errors)[0] == "the default branch is trunk"
    assert await shown_branch(admin, project) == "trunk"
    assert await built_branch(admin, project) == "trunk"

    url = (await tree.git("remote", "get-url", "--push", "origin")).output.strip()
    await tree.git("clone", "-q", url, str(tmp_path / "clone"))
    assert (tmp_path / "clone" / "src" / "a").read_text() == "1"

    await tree.commit({"doc": "only"})
    pushed = await tree.push("main:feature")
    assert remote_lines(pushed.errors) == [
        "feature: no workflow is triggered by a push to this branch that changes these files"
    ]


@pytest.mark.parametrize(
    ("pushed", "head"),
    [
        (("a", "master", "z"), "master"),
        (("master", "main"), "main"),
        (("zeta", "beta", "main/x"), "beta"),
    ],
)
async def test_of_several_first_branches_main_then_master_then_the_first_by_name(
    admin: Caller, project: dict[str, Any], tree: WorkTree, pushed: tuple[str, ...], head: str
) -> None:
    await tree.commit({".pushrod.yml": ONE_STEP})
    await tree.push(*(f"main:{name}" for name in pushed))
    assert await shown_branch(admin, project) == head


async def test_a_tag_pushed_first_makes_no_default_branch(
    admin: Caller, project: dict[str, Any], tree: WorkTree
) -> None:
    await tree.commit({".pushrod.yml": ONE_STEP})
    await tree.git("tag", "v1")
    await tree.push("v1")
    assert await shown_branch(admin, project) is None
    await tree.push("main:main")
    assert await shown_branch(admin, project) == "main"


async def test_a_renamed_default_branch_stays_it_and_a_deleted_one_is_replaced(
    admin: Caller, project: dict[str, Any], tree: WorkTree
) -> None:
    await tree.commit({".pushrod.yml": ONE_STEP})
    await tree.push("main:master", "main:main")
    await tree.commit({"more": "1"})
    await tree.push("main:main")
    renamed = await tree.push(":main", "main:trunk")
    told = "the default branch is trunk, as main is gone; another: "
    assert remote_lines(renamed.errors)[0] == (
        f"{told}pushrod project set shop --default-branch NAME"
    )
    assert await shown_branch(admin, project) == "trunk"

    deleted = await tree.push(":trunk")
    assert "the default branch is master, as trunk is gone" in deleted.errors
    assert await shown_branch(admin, project) == "master"

    last = await tree.push(":master")
    assert "master was the default branch: the next one that is pushed takes its" in last.errors
    await tree.push("main:side")
    assert await shown_branch(admin, project) == "side"


async def test_a_maintainer_names_another_that_there_is(
    coordinator: Coordinator, admin: Caller, project: dict[str, Any], tree: WorkTree
) -> None:
    await tree.commit({".pushrod.yml": ONE_STEP})
    await tree.push("main:main", "main:next")
    shown = await said(coordinator, "project", "set", "shop", "--default-branch", "next")
    assert "shop: the default branch is next" in shown
    assert await built_branch(admin, project) == "next"
    [entry] = [
        entry
        for entry in (await admin.get("/api/audit-logs")).expect(200).json["auditLogs"]
        if entry["action"] == "project.default_branch_set"
    ]
    assert (entry["details"]["branch"], entry["details"]["before"]) == ("next", "main")

    missing = await command(coordinator, "project", "set", "shop", "--default-branch", "nxt")
    assert missing.exit_code == 1
    assert "the repository has no branch 'nxt': push it first" in missing.output


async def test_what_an_older_version_left_unborn_is_settled_by_the_next_look(
    coordinator: Coordinator, admin: Caller, project: dict[str, Any], tree: WorkTree
) -> None:
    await tree.commit({".pushrod.yml": ONE_STEP})
    await tree.push("main:trunk")
    repository = coordinator.data / "repositories" / f"{project['id']}.git"
    (repository / "HEAD").write_text("ref: refs/heads/main\n")
    await tree.git("tag", "v1")
    await tree.push("v1")
    assert await shown_branch(admin, project) == "trunk"


async def forged(
    forge_repository: Repository, coordinator: Coordinator
) -> tuple[dict[str, Any], Any]:
    await forge_repository.tree.git(
        *("--git-dir", str(forge_repository.path), "symbolic-ref", "HEAD", "refs/heads/trunk")
    )
    return await remote_project(coordinator, forge_repository.url)


async def test_a_forges_head_is_learned_at_each_fetch(
    tmp_path: Path, coordinator: Coordinator, admin: Caller
) -> None:
    async with open_forge(tmp_path) as forge:
        repository = await forge.new_repository(tmp_path / "forged")
        project, hook = await forged(repository, coordinator)
        sha = await repository.push({".pushrod.yml": OF_SOURCES, "src/a": "1"}, ref="trunk")
        payload = push_payload(repository.url, sha, ref="refs/heads/trunk")
        await hook.github("push", payload)
        assert len(await admin.builds(project)) == 1
        assert await shown_branch(admin, project) == "trunk"
        assert await built_branch(admin, project) == "trunk"

        sha = await repository.push({"doc": "only"}, ref="refs/heads/feature")
        await hook.github("push", push_payload(repository.url, sha, ref="refs/heads/feature"))
        assert len(await admin.builds(project)) == 2

        await repository.tree.git(
            *("--git-dir", str(repository.path), "symbolic-ref", "HEAD", "refs/heads/feature")
        )
        assert await built_branch(admin, project) == "feature"
        refused = await command(
            coordinator, "project", "set", "remote", "--default-branch", "feature"
        )
        assert refused.exit_code == 1
        assert "change the default branch there" in " ".join(refused.output.split())


async def test_a_forge_whose_head_names_nothing_is_asked_for_the_branch(
    tmp_path: Path, coordinator: Coordinator, admin: Caller
) -> None:
    async with open_forge(tmp_path) as forge:
        repository = await forge.new_repository(tmp_path / "forged")
        project, hook = await forged(repository, coordinator)
        sha = await repository.push({".pushrod.yml": ONE_STEP}, ref="main")
        await hook.github("push", push_payload(repository.url, sha))
        [workflow] = (await admin.get(f"/api/projects/{project['id']}/workflows")).json
        body = {"workflowId": workflow["id"]}
        answer = await admin.post(f"/api/projects/{project['id']}/builds", body)
        assert "names no branch: name the one to build (--branch)" in answer.expect(400).text


async def test_a_project_whose_repository_is_lost_is_still_shown(
    admin: Caller, project: dict[str, Any], tree: WorkTree, coordinator: Coordinator
) -> None:
    await tree.commit({".pushrod.yml": ONE_STEP})
    await tree.push("main")
    folder = coordinator.data / "repositories" / f"{project['id']}.git"
    folder.rename(folder.with_name("lost"))

    assert await shown_branch(admin, project) is None
    [build] = (await admin.get(f"/api/projects/{project['id']}/builds")).expect(200).json["builds"]
    (await admin.get(f"/api/projects/-/builds/{build['id']}")).expect(200)
