"""Files that a workflow includes from a project whose repository is at a forge."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.integration.coordinator_fixture import Coordinator, WorkTree, new_work_tree
from tests.integration.forge_fixture import Forge, Repository, remote_project


def template(run: str) -> dict[str, str]:
    return {"t.yml": f"templates: {{t: {{image: debian, run: {run}}}}}\n"}


@pytest.fixture
async def project(coordinator: Coordinator, repository: Repository) -> dict[str, Any]:
    await remote_project(coordinator, repository.url, "shared")
    return await coordinator.admin.new_project("default", "shop")


@pytest.fixture
async def tree(tmp_path: Path, coordinator: Coordinator, project: dict[str, Any]) -> WorkTree:
    return await new_work_tree(tmp_path, coordinator.admin, project)


async def built(
    coordinator: Coordinator, project: dict[str, Any], tree: WorkTree, ref: str | None
) -> dict[str, Any]:
    at = "" if ref is None else f", ref: {ref}"
    text = f"include: {{project: shared{at}, file: t.yml}}\nsteps: [{{name: a, use: t}}]\n"
    await tree.commit({".pushrod.yml": text})
    await tree.push()
    (newest, *_) = await coordinator.admin.builds(project)
    return await coordinator.admin.build(newest["id"])


async def test_what_the_forge_has_at_a_tag_a_branch_or_a_commit_is_included(
    coordinator: Coordinator, project: dict[str, Any], tree: WorkTree, repository: Repository
) -> None:
    first = await repository.push(template("first"))
    await repository.tree.git("tag", "-a", "-m", "v1", "v1")
    await repository.tree.git("push", "-q", "origin", "v1")
    second = await repository.push(template("second"))
    wip = await repository.push(template("wip"), ref="refs/heads/wip/x")
    agent = await coordinator.admin.new_agent()
    for ref, sha, script in (
        (None, second, "second"),
        ("v1", first, "first"),
        ("wip/x", wip, "wip"),
        (first, first, "first"),
    ):
        build = await built(coordinator, project, tree, ref)
        assert [one["sha"] for one in build["includes"]] == [sha], build
        assert (await agent.take())["script"] == script


async def test_what_cannot_be_had_fails_the_build_in_words(
    coordinator: Coordinator,
    project: dict[str, Any],
    tree: WorkTree,
    repository: Repository,
    forge: Forge,
) -> None:
    await repository.push(template("first"))
    gone = await built(coordinator, project, tree, "v7")
    assert "has no tag, branch or commit `v7`" in gone["problems"][0]["message"]
    odd = await built(coordinator, project, tree, '"a..b"')
    assert "has no tag, branch or commit `a..b`" in odd["problems"][0]["message"]
    repository.path.rename(repository.path.with_name("away"))
    away = await built(coordinator, project, tree, None)
    assert away["state"] == "failed"
    said = away["problems"][0]["message"]
    assert "the project `shared`: the repository could not be fetched" in said
    assert said.count("could not be fetched") == 1
