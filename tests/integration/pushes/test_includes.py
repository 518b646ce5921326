"""Workflows that include files: from a real push to what an agent is given."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.coordinator_fixture import (
    Caller,
    Coordinator,
    WorkTree,
    new_work_tree,
    open_coordinator,
)

TEMPLATES = "templates: {t: {image: debian, run: of the template, env: {A: '1'}}}\n"


def workflow(include: str, *steps: str) -> str:
    listed = "".join(f"  - {step}\n" for step in steps or ("{name: a, use: t}",))
    return f"include: {include}\nsteps:\n{listed}"


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with open_coordinator(tmp_path) as coordinator:
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


async def problems_of(caller: Caller, project: dict[str, Any]) -> list[str]:
    """Of the newest build, as file:line:column message."""
    (build, *_) = await caller.builds(project)
    assert build["state"] == "failed"
    return [
        f"{one['file']}:{one['line']}:{one['column']} {one['message']}"
        for one in (await caller.build(build["id"]))["problems"]
    ]


async def test_a_file_of_the_repository_is_included_as_it_is_at_the_pushed_commit(
    admin: Caller, project: dict[str, Any], tree: WorkTree
) -> None:
    await tree.commit({".pushrod.yml": workflow("[ci/t.yml]"), "ci/t.yml": TEMPLATES})
    await tree.push()
    agent = await admin.new_agent()
    spec = await agent.take()
    assert (spec["script"], spec["env"]["A"]) == ("of the template", "1")


async def test_a_mistake_in_an_included_file_is_told_where_it_stands(
    admin: Caller, project: dict[str, Any], tree: WorkTree
) -> None:
    text = "templates:\n  t: {image: a, run: b, timeout: soon}\n"
    await tree.commit({".pushrod.yml": workflow("[ci/t.yml, ci/no.yml]"), "ci/t.yml": text})
    await tree.push()
    problems = await problems_of(admin, project)
    assert problems[0].startswith(".pushrod.yml:1:21 there is no file `ci/no.yml`")
    assert problems[1].startswith("ci/t.yml:2:34 `timeout` is no duration")
    assert len(problems) == 2


async def test_neither_a_link_nor_a_folder_is_included(
    admin: Caller, project: dict[str, Any], tree: WorkTree
) -> None:
    await tree.commit({".pushrod.yml": workflow("[link.yml, ci, ci/t.yml]"), "ci/t.yml": TEMPLATES})
    (tree.folder / "link.yml").symlink_to("/etc/passwd")
    await tree.git("add", "link.yml")
    await tree.git("commit", "-qm", "link")
    await tree.push()
    problems = await problems_of(admin, project)
    assert ["`link.yml`" in problems[0], "`ci`" in problems[1]] == [True, True]
    assert len(problems) == 2


async def test_more_than_a_mebibyte_in_all_is_refused(
    admin: Caller, project: dict[str, Any], tree: WorkTree
) -> None:
    big = TEMPLATES + "#" * 600_000 + "\n"
    files = {".pushrod.yml": workflow("[a.yml, b.yml]"), "a.yml": big, "b.yml": big}
    await tree.commit(files)
    await tree.push()
    (problem,) = await problems_of(admin, project)
    assert problem.startswith(".pushrod.yml:1:18 with this file more than 1 MiB are included")


SHARED = "{project: shared-ci, ref: v1, file: ci/t.yml}"


@pytest.fixture
async def shared(tmp_path: Path, admin: Caller) -> WorkTree:
    """Another project of the account, with one file at the tag v1."""
    tree = await new_work_tree(tmp_path, admin, await admin.new_project("acme", "shared-ci"), "s")
    await tree.commit({"ci/t.yml": TEMPLATES})
    await tree.git("tag", "v1")
    await tree.push("main", "v1")
    return tree


async def test_a_file_of_another_project_is_pinned_and_a_retry_has_the_same_steps(
    admin: Caller, project: dict[str, Any], tree: WorkTree, shared: WorkTree
) -> None:
    pinned = (await shared.git("rev-parse", "HEAD")).output
    await tree.commit({".pushrod.yml": workflow(SHARED)})
    await tree.push()
    agent = await admin.new_agent()
    spec = await agent.take()
    await agent.complete(spec, exitCode=1)
    await shared.commit({"ci/t.yml": TEMPLATES.replace("of the template", "moved on")})
    await shared.git("tag", "-f", "v1")
    await shared.push("+v1")
    (build, *_) = await admin.builds(project)
    (await admin.post(f"/api/projects/-/builds/{build['id']}/retry")).expect(201)
    assert (await agent.take())["script"] == "of the template"
    expected = [{"project": "shared-ci", "ref": "v1", "file": "ci/t.yml", "sha": pinned}]
    for one in await admin.builds(project):
        assert (await admin.build(one["id"]))["includes"] == expected


@pytest.mark.parametrize(
    ("include", "said"),
    [
        ("{project: shared-ci, ref: v2, file: ci/t.yml}", "has no tag, branch or commit `v2`"),
        ("{project: shared-ci, ref: v1, file: no.yml}", "there is no file `no.yml` in the project"),
        ("{project: no-such, file: ci/t.yml}", "this account has no project `no-such`"),
        ("{project: secret-ci, file: ci/t.yml}", "this account has no project `secret-ci`"),
        ("{project: other/secret-ci, file: ci/t.yml}", "has no project `other/secret-ci`"),
    ],
)
async def test_what_another_project_lacks_and_what_is_anothers_is_refused_alike(
    admin: Caller,
    project: dict[str, Any],
    tree: WorkTree,
    shared: WorkTree,
    tmp_path: Path,
    include: str,
    said: str,
) -> None:
    foreign = await new_work_tree(
        tmp_path, admin, await admin.new_project("other", "secret-ci"), "foreign"
    )
    await foreign.commit({"ci/t.yml": TEMPLATES})
    await foreign.push()
    await tree.commit({".pushrod.yml": workflow(include)})
    await tree.push()
    (problem,) = await problems_of(admin, project)
    assert problem.startswith(".pushrod.yml:1:10 ")
    assert said in problem


async def test_branches_commits_and_the_default_branch_are_refs_too(
    admin: Caller, project: dict[str, Any], tree: WorkTree, shared: WorkTree
) -> None:
    sha = (await shared.git("rev-parse", "HEAD")).output
    agent = await admin.new_agent()
    for ref in ("", "ref: main, ", f"ref: {sha}, "):
        include = f"{{project: shared-ci, {ref}file: ci/t.yml}}"
        await tree.commit({".pushrod.yml": workflow(include)})
        await tree.push()
        assert (await agent.take())["script"] == "of the template"
