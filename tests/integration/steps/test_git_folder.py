"""The `.git` that a script finds: each form of the key `git`, on each engine, from real pushes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from agent.engines.protocol import Engine
from tests.integration.coordinator_fixture import (
    Caller,
    Coordinator,
    WorkTree,
    new_work_tree,
    open_coordinator,
)
from tests.integration.source_fixture import finished, running_agent

SETTINGS = {
    "allow_http_repositories": True,
    "allow_private_addresses": True,
    "fetch_retry_seconds": 0.05,
    "fetch_attempts": 2,
}


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with open_coordinator(tmp_path, **SETTINGS) as coordinator:
        yield coordinator


@pytest.fixture
def admin(coordinator: Coordinator) -> Caller:
    return coordinator.admin


@pytest.fixture
def engine() -> Engine | None:
    return None


@pytest.fixture
def image() -> str:
    return "base"


def workflow(script: str, image: str, **more: Any) -> str:
    step = {"name": "look", "image": image, "run": script, **more}
    return json.dumps(
        {"name": "ci", "on": {"push": {}, "tag": ["v*"], "manual": {}}, "steps": [step]}
    )


class Project:
    """A project here, its clone, and what its builds printed."""

    def __init__(self, admin: Caller, project: Mapping[str, Any], tree: WorkTree) -> None:
        self.admin = admin
        self.project = project
        self.tree = tree
        self.builds = 0

    async def push(self, *refs: str, builds: int = 1) -> dict[str, Any]:
        """The last of so many builds that this push begins, ended."""
        await self.tree.push(*refs)
        self.builds += builds
        build = await finished(self.admin, self.project, self.builds)
        assert build["state"] == "succeeded", json.dumps(build)
        return build


@pytest.fixture
async def app(admin: Caller, tmp_path: Path) -> Project:
    project = await admin.new_project(name="app")
    return Project(admin, project, await new_work_tree(tmp_path, admin, project, "app"))


def values(build: Mapping[str, Any]) -> dict[str, str]:
    """The lines `name=value` of its log."""
    lines = str(build["log"]).splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


LOOK = """\
git status --porcelain --untracked-files=all
echo status=$(git status --porcelain --untracked-files=all | wc -l)
git diff --exit-code && echo diff=none
echo head=$(git rev-parse HEAD)
echo commits=$(git rev-list --count HEAD)
echo exact=$(git describe --tags --exact-match 2>/dev/null)
echo described=$(git describe 2>/dev/null)
echo tags=$(git tag | xargs)
echo base=$(git merge-base HEAD origin/main 2>/dev/null)
git fsck --no-dangling && echo whole=yes
echo mine=$(stat -c %u .git) me=$(id -u)
"""


async def history(app: Project, image: str, **more: Any) -> tuple[str, str]:
    """A branch `work` with its own commit, two after main's; `v1` is an annotated tag of main's
    first commit, `v2` a plain one of the branch's last. Returns main's commit and the branch's."""
    files = {".pushrod.yml": workflow(LOOK, image, **more), "src/a.py": "a = 1\n", "empty": ""}
    (app.tree.folder / "link").symlink_to("src/a.py")
    await app.tree.commit(files, "first")
    await app.tree.git("tag", "-a", "v1", "-m", "one")
    main = await app.tree.commit({"src/b.py": "b = 1\n"}, "second")
    await app.tree.git("checkout", "-q", "-b", "work")
    await app.tree.commit({"src/c.py": "c = 1\n"}, "third")
    last = await app.tree.commit({"src/c.py": "c = 2\n"}, "fourth")
    await app.tree.git("tag", "v2")
    return main, last


ALL_COMMITS, ONE_TAG, NO_BASE = "4", "v2", ""


@pytest.mark.parametrize(
    ("more", "commits", "tags", "described"),
    [
        ({}, "1", "v2", ""),
        ({"git": True}, "1", "v2", ""),
        ({"git": {"depth": 2}}, "2", "v2", ""),
        ({"git": {"depth": 3, "tags": True}}, "3", "v2", ""),
        ({"git": {"depth": 4, "tags": True}}, "4", "v1 v2", "v1-3"),
        ({"git": "full"}, "4", "v1 v2", "v1-3"),
    ],
    ids=["left out", "true", "depth 2", "depth 3 and tags", "depth 4 and tags", "full"],
)
async def test_a_script_finds_its_commit_in_a_repository_that_is_clean(
    coordinator: Coordinator,
    app: Project,
    engine: Engine | None,
    image: str,
    more: dict[str, Any],
    commits: str,
    tags: str,
    described: str,
) -> None:
    main, last = await history(app, image, **more)
    async with running_agent(coordinator, engine):
        await app.push("main", "v1", "v2", builds=3)
        build = await app.push("work")
    found = values(build)
    assert found["status"] == "0", build["log"]
    assert found["diff"] == "none"
    assert found["head"] == last
    assert found["commits"] == commits
    assert found["exact"] == "v2"
    assert found["tags"] == tags
    assert found["described"].startswith(described)
    assert found["base"] == (main if more == {"git": "full"} else "")
    assert found["whole"] == "yes"
    mine, me = found["mine"].split(" me=")
    assert mine == me


async def test_without_git_there_is_no_repository(
    coordinator: Coordinator, app: Project, engine: Engine | None, image: str
) -> None:
    script = "test ! -e .git && test -e .pushrod.yml"
    await app.tree.commit({".pushrod.yml": workflow(script, image, git=False)})
    async with running_agent(coordinator, engine):
        await app.push()
