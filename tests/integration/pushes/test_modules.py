"""Modules that repositories declare: from a real push to a build by name."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.integration.coordinator_fixture import (
    ONE_STEP,
    Answer,
    Caller,
    Coordinator,
    WorkTree,
    eventually,
    new_work_tree,
    open_coordinator,
)
from tests.integration.forge_fixture import (
    Forge,
    open_forge,
    push_payload,
    remote_project,
    until_settled,
)

TRIGGER = "/api/build_synthesis/trigger"
FILE = ".pushrod/modules.yml"
LOCAL = {"allow_http_repositories": True, "allow_private_addresses": True}


def declaring(*names: str) -> str:
    lines = (f"  {name}: {{path: ., targets: {{default: ci}}}}\n" for name in names)
    return "modules:\n" + "".join(lines)


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with open_coordinator(tmp_path, **LOCAL) as coordinator:
        yield coordinator


@pytest.fixture
def admin(coordinator: Coordinator) -> Caller:
    return coordinator.admin


@pytest.fixture
async def project(admin: Caller) -> dict[str, Any]:
    return await admin.new_project("acme", "shop")


@pytest.fixture
async def tree(tmp_path: Path, admin: Caller, project: dict[str, Any]) -> WorkTree:
    return await new_work_tree(tmp_path, admin, project)


async def pushed(tree: WorkTree, files: dict[str, str], *refs: str, message: str = "change") -> str:
    """Commit and push; what git printed of the coordinator's answer."""
    await tree.commit(files, message)
    return (await tree.push(*refs)).errors


async def trigger(caller: Caller, name: str, **body: Any) -> Answer:
    return await caller.post(TRIGGER, {"module_name": name, **body})


async def commit_of(caller: Caller, name: str) -> str:
    """The commit that a new build of the module is of."""
    build_id = (await trigger(caller, name)).expect(202).json["build_id"]
    return str((await caller.build(build_id))["commitHash"])


WHERE = (
    "a module is declared in `.pushrod/modules.yml` on its project's default branch; a whole "
    "project is one by its slug once it was pushed to"
)


def problems_of(answer: Answer) -> list[str]:
    body = answer.expect(400).json
    assert "not found or build target invalid." in body["error"]
    return [detail["message"] for detail in body.get("details", [])]


# What a push declares


async def test_the_file_of_modules_is_no_workflow_and_a_push_does_not_speak_of_a_sound_one(
    admin: Caller, project: dict[str, Any], tree: WorkTree
) -> None:
    said = await pushed(tree, {".pushrod.yml": ONE_STEP, FILE: declaring("core")})
    [build] = await admin.builds(project)
    assert build["workflow"] == "ci"
    assert "modules" not in said


async def test_mistakes_are_told_by_the_push_and_break_no_build(
    admin: Caller, project: dict[str, Any], tree: WorkTree
) -> None:
    broken = "modules:\n  core: {path: ../x, targets: {default: cii}}\n"
    said = await pushed(tree, {".pushrod.yml": ONE_STEP, FILE: broken})
    [build] = await admin.builds(project)
    assert build["state"] == "queued"
    path = f"{FILE}:2:16: `../x` must lie in the repository"
    workflow = f"{FILE}:2:41: there is no workflow `cii`: did you mean `ci`?"
    assert "modules (main): none can be built until the file's mistakes are gone" in said
    assert path in said
    assert workflow in said
    told = problems_of(await trigger(admin, "core"))
    assert [
        f"acme/shop: {path}: write a path relative to its root",
        f"acme/shop: {workflow}",
        WHERE,
    ] == told
    await pushed(tree, {FILE: declaring("core")})
    (await trigger(admin, "core")).expect(202)


async def test_a_module_has_a_folder_in_the_repository(admin: Caller, tree: WorkTree) -> None:
    paths = {"a": "libs/a", "b": "libs/b", "c": "libs", "d": "libs/a/file", "e": "link", "f": ".."}
    lines = (
        f"  {name}: {{path: {path}, targets: {{default: ci}}}}\n" for name, path in paths.items()
    )
    (tree.folder / "link").symlink_to("libs")
    files = {".pushrod.yml": ONE_STEP, "libs/a/file": "", FILE: "modules:\n" + "".join(lines)}
    said = await pushed(tree, files)
    for number, path in ((3, "libs/b"), (5, "libs/a/file"), (6, "link")):
        assert f"{FILE}:{number}:13: there is no folder `{path}` in the repository" in said
    assert f"{FILE}:7:13: `..` must lie in the repository" in said
    assert said.count(FILE) == 4


async def test_both_names_of_the_file_at_once_are_a_mistake(admin: Caller, tree: WorkTree) -> None:
    other = FILE.replace(".yml", ".yaml")
    files = {".pushrod.yml": ONE_STEP, FILE: declaring("core"), other: declaring("core")}
    said = await pushed(tree, files)
    assert f"there are both {FILE} and {other}: remove one of them" in said
    await tree.git("rm", "-q", FILE)
    await pushed(tree, {})
    (await trigger(admin, "core")).expect(202)


async def test_modules_are_those_of_the_default_branchs_tip(
    admin: Caller, project: dict[str, Any], tree: WorkTree
) -> None:
    await pushed(tree, {".pushrod.yml": ONE_STEP, FILE: declaring("core", "old")})
    await pushed(tree, {FILE: declaring("core", "new")}, "main:side")
    assert problems_of(await trigger(admin, "new")) == [WHERE]
    first = await commit_of(admin, "old")
    await tree.push()
    assert await commit_of(admin, "new") != first
    assert problems_of(await trigger(admin, "old")) == [WHERE]
    await tree.git("rm", "-q", FILE)
    await pushed(tree, {})
    assert problems_of(await trigger(admin, "core")) == [WHERE]


async def test_a_skipped_push_builds_nothing_but_its_modules_count(
    admin: Caller, project: dict[str, Any], tree: WorkTree
) -> None:
    files = {".pushrod.yml": ONE_STEP, FILE: declaring("core")}
    await pushed(tree, files, message="[skip ci] change")
    assert await admin.builds(project) == []
    (await trigger(admin, "core")).expect(202)


async def test_without_a_main_branch_the_only_one_is_the_default(
    admin: Caller, tree: WorkTree
) -> None:
    await pushed(tree, {".pushrod.yml": ONE_STEP, FILE: declaring("core")}, "main:trunk")
    build_id = (await trigger(admin, "core")).expect(202).json["build_id"]
    assert (await admin.build(build_id))["branch"] == "trunk"


async def test_a_branch_that_is_gone_takes_its_modules_along(admin: Caller, tree: WorkTree) -> None:
    await pushed(tree, {".pushrod.yml": ONE_STEP, FILE: declaring("core")})
    await tree.push("--delete", "main")
    assert problems_of(await trigger(admin, "core")) == [WHERE]


async def test_a_target_whose_workflow_has_mistakes_says_which(
    admin: Caller, tree: WorkTree
) -> None:
    files = {".pushrod/ci.yml": "name: ci\nsteps: 5\n", FILE: declaring("core")}
    await pushed(tree, files)
    [first, second] = problems_of(await trigger(admin, "core"))
    assert first == ".pushrod/ci.yml: this workflow has mistakes"
    assert second.startswith(".pushrod/ci.yml:2:8: `steps` must be a list")


async def test_projects_of_before_are_read_at_the_next_start(
    coordinator: Coordinator, admin: Caller, tree: WorkTree
) -> None:
    await pushed(tree, {".pushrod.yml": ONE_STEP, FILE: declaring("core")})
    await coordinator.stop()
    with closing(sqlite3.connect(coordinator.data / "pushrod.db")) as connection:
        connection.executescript("DELETE FROM modules; DELETE FROM module_files")
    await coordinator.start()

    async def is_known() -> bool:
        return (await trigger(admin, "core")).status == 202

    await eventually(is_known)


# Remote projects


@pytest.fixture
async def forge(tmp_path: Path) -> AsyncIterator[Forge]:
    async with open_forge(tmp_path) as forge:
        yield forge


async def test_a_remote_projects_modules_come_with_its_pushes(
    coordinator: Coordinator, admin: Caller, forge: Forge, tmp_path: Path
) -> None:
    repository = await forge.new_repository(tmp_path / "tree")
    _, hook = await remote_project(coordinator, repository.url)
    sha = await repository.push({".pushrod.yml": ONE_STEP, FILE: declaring("core")})
    await hook.github("push", push_payload(repository.url, sha), delivery=sha, wait=0)
    await until_settled(hook, sha)
    assert await commit_of(admin, "core") == sha


# Which project


@pytest.fixture
async def twins(admin: Caller, tree: WorkTree, tmp_path: Path) -> list[dict[str, Any]]:
    """Another project of the account, and one of another account, that declare `core` too."""
    files = {".pushrod.yml": ONE_STEP, FILE: declaring("core")}
    await pushed(tree, files)
    projects = [
        await admin.new_project("acme", "office"),
        await admin.new_project("other", "shop"),
    ]
    for number, project in enumerate(projects):
        other = await new_work_tree(tmp_path, admin, project, f"other-{number}")
        await pushed(other, files)
    return projects


async def test_a_module_of_several_projects_is_asked_for_by_its_project(
    admin: Caller, project: dict[str, Any], twins: list[dict[str, Any]]
) -> None:
    developer = await admin.new_token(role="developer", account="acme")
    refused = (await trigger(developer, "core")).expect(400).json
    assert refused["error"] == (
        "Module 'core' is declared by several projects: write one of acme/shop/core, "
        "acme/office/core"
    )
    for name, wanted in (("office/core", twins[0]), ("acme/shop/core", project)):
        answer = (await trigger(developer, name)).expect(202).json
        assert answer["message"] == "Build triggered for core module."
        assert (await developer.build(answer["build_id"]))["projectId"] == wanted["id"]
    assert "other/shop/core" in (await trigger(admin, "shop/core")).expect(400).json["error"]
    build_id = (await trigger(admin, "other/shop/core")).expect(202).json["build_id"]
    assert (await admin.build(build_id))["projectId"] == twins[1]["id"]


async def test_another_accounts_modules_and_mistakes_are_not_there(
    admin: Caller, tree: WorkTree, tmp_path: Path
) -> None:
    await pushed(tree, {".pushrod.yml": ONE_STEP, FILE: declaring("visualisation")})
    broken = await new_work_tree(
        tmp_path, admin, await admin.new_project("acme", "broken"), "broken"
    )
    await pushed(broken, {FILE: "modules: 5\n"})
    stranger = await admin.new_token(role="maintainer", account="other")
    for name in ("visualisation", "shop/visualisation", "acme/shop/visualisation", "visualisaton"):
        answer = (await trigger(stranger, name)).expect(400)
        assert answer.json["error"] == f"Module '{name}' not found or build target invalid."
        assert problems_of(answer) == [WHERE]
    own = await admin.new_token(role="developer", account="acme")
    assert problems_of(await trigger(own, "visualisaton"))[0] == "did you mean `visualisation`?"


async def test_a_modules_build_is_seen_by_its_account_alone(admin: Caller, tree: WorkTree) -> None:
    await pushed(tree, {".pushrod.yml": ONE_STEP, FILE: declaring("core")})
    triggered = (await trigger(admin, "core")).expect(202).json
    stranger = await admin.new_token(role="maintainer", account="other")
    viewer = await admin.new_token(role="viewer", account="acme")
    logs = f"/api/build_synthesis/logs/{triggered['build_id']}"
    for path in (triggered["status_url"], logs):
        assert (await stranger.get(path)).expect(404).json == {"error": "build not found"}
        (await viewer.get(path)).expect(200)
    (await trigger(viewer, "core")).expect(403)


# Targets by convention


async def steps_of(caller: Caller, name: str, **body: Any) -> list[str]:
    """Names of the steps that a triggered build runs."""
    build_id = (await trigger(caller, name, **body)).expect(202).json["build_id"]
    return [step["name"] for step in (await caller.build(build_id))["steps"]]


WEB = '{"scripts": {"build": "vite build"}}'
BY_CONVENTION = """
modules:
  api: {path: libs/api}
  pages: {path: libs/pages}
  docs: {path: docs}
"""


async def test_files_tell_the_targets_of_a_module_that_declares_none(
    admin: Caller, tree: WorkTree
) -> None:
    files = {
        FILE: BY_CONVENTION,
        "libs/api/dockerFile": "FROM scratch\n",
        "libs/api/setup.py": "",
        "libs/pages/package.json": WEB,
        "docs/package.json": '{"scripts": {"test": "jest"}}',
    }
    await pushed(tree, files)
    assert await steps_of(admin, "api") == ["docker_image"]
    assert await steps_of(admin, "api", build_target="python_wheel") == ["python_wheel"]
    assert await steps_of(admin, "shop/pages", build_target="web_app") == ["web_app"]
    [unknown] = problems_of(await trigger(admin, "pages", build_target="python_wheel"))
    assert unknown.endswith("no target `python_wheel`: its targets are `default`, `web_app`")
    [nothing] = problems_of(await trigger(admin, "docs"))
    assert "declares no targets, and nothing in `docs` tells of one: a Dockerfile" in nothing


async def test_a_project_that_nobody_declared_is_built_whole_by_its_slug(
    admin: Caller, tmp_path: Path, tree: WorkTree
) -> None:
    assert problems_of(await trigger(admin, "shop"))[-1] == WHERE  # nothing was pushed yet
    await pushed(tree, {"Dockerfile": "FROM scratch\n", "package.json": WEB})
    assert await steps_of(admin, "acme/shop", build_parameters={"LEVEL": 3}) == ["docker_image"]
    (tmp_path / "other").mkdir()
    other = await new_work_tree(tmp_path / "other", admin, await admin.new_project("two", "shop"))
    await pushed(other, {"pyproject.toml": ""})
    ambiguous = (await trigger(admin, "shop")).expect(400).json
    assert [one["message"] for one in ambiguous["details"]] == ["acme/shop", "two/shop"]
    assert await steps_of(admin, "two/shop") == ["python_wheel"]


async def test_a_broken_file_of_modules_is_told_before_a_project_is_built_by_its_slug(
    admin: Caller, tree: WorkTree
) -> None:
    await pushed(tree, {"Dockerfile": "FROM scratch\n", FILE: "modules: {}\n"})
    assert any(f"acme/shop: {FILE}" in one for one in problems_of(await trigger(admin, "shop")))


async def test_a_manifest_that_is_no_json_is_no_web_app(admin: Caller, tree: WorkTree) -> None:
    await pushed(tree, {"package.json": "[" * 100_000})
    [said] = problems_of(await trigger(admin, "shop"))
    assert "nothing in the repository's top folder tells of one" in said
