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
