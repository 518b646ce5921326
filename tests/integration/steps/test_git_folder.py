"""The `.git` that a script finds: each form of the key `git`, on each engine, from real pushes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from agent.engines.buildkit.engine import BuildKitEngine
from agent.engines.private import ensure_base_image
from agent.engines.protocol import Engine
from tests.integration.coordinator_fixture import (
    Caller,
    Coordinator,
    WorkTree,
    new_work_tree,
    open_coordinator,
)
from tests.integration.forge_fixture import Forge, open_forge, push_payload, remote_project
from tests.integration.source_fixture import add_submodule, finished, running_agent

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


@pytest.fixture(params=["host", pytest.param("buildkit", marks=pytest.mark.engine)])
def place(request: pytest.FixtureRequest) -> tuple[str | None, str]:
    """The engine's address, None for the host engine, and an image with git."""
    if request.param == "host":
        return None, "base"
    address: str = request.getfixturevalue("buildkit").address
    return address, asyncio.run(ensure_base_image(lambda _: None))


@pytest.fixture
async def engine(place: tuple[str | None, str], tmp_path: Path) -> AsyncIterator[Engine | None]:
    """None: an engine of the agent's own, the host."""
    address, _ = place
    if address is None:
        yield None
        return
    made = BuildKitEngine(address, data_dir=tmp_path / "engine", log_limits_lifted=True)
    await made.check()
    yield made
    await made.close()


@pytest.fixture
def image(place: tuple[str | None, str]) -> str:
    return place[1]


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


USED = """\
git config user.name T; git config user.email t@example.org
printf 'a = 2\\n' > src/a.py
git diff --exit-code && exit 1
git commit -qam 'of the script' && git tag mine && git gc -q && git fsck --no-dangling
git clone -q . "$HOME/clone"
rm -rf .git
test ! -e .git
"""


async def test_a_script_may_do_with_its_repository_what_it_likes(
    coordinator: Coordinator, app: Project, engine: Engine | None, image: str
) -> None:
    """The next step has one that nothing of it has reached; a change of the same size, in the
    very second of the checkout, is seen."""
    steps = [
        {"name": "use", "image": image, "run": USED},
        {"name": "look", "image": image, "run": LOOK, "dependsOn": ["use"]},
    ]
    files = {".pushrod.yml": json.dumps({"name": "ci", "steps": steps}), "src/a.py": "a = 1\n"}
    commit = await app.tree.commit(files)
    async with running_agent(coordinator, engine):
        build = await app.push()
    found = values(build)
    assert (found["status"], found["diff"], found["head"]) == ("0", "none", commit), build["log"]
    assert (found["tags"], found["whole"]) == ("", "yes")


async def test_later_commits_and_tags_are_seen(
    coordinator: Coordinator, app: Project, engine: Engine | None, image: str
) -> None:
    async with running_agent(coordinator, engine):
        await app.tree.commit({".pushrod.yml": workflow(LOOK, image), "file": "1"})
        await app.push()
        second = await app.tree.commit({"file": "2"})
        found = values(await app.push())
        assert (found["head"], found["status"], found["whole"]) == (second, "0", "yes")
        assert found["tags"] == ""
        await app.tree.git("tag", "-a", "v1", "-m", "one")
        found = values(await app.push("v1"))
        assert (found["tags"], found["described"]) == ("v1", "v1")
        # A branch's build of a commit that was laid out before the tag came.
        await app.tree.git("tag", "later")
        await app.tree.push("later")
        await app.tree.git("branch", "again")
        found = values(await app.push("again"))
        assert found["tags"] == "later v1"


@pytest.mark.parametrize(
    "place", [pytest.param("buildkit", marks=pytest.mark.engine)], indirect=True
)
async def test_an_images_build_has_no_repository_in_its_context(
    coordinator: Coordinator, app: Project, engine: Engine, image: str
) -> None:
    build = {"context": ".", "push": False}
    steps = [{"name": "image", "build": build}, {"name": "look", "image": image, "run": LOOK}]
    dockerfile = f"FROM {image}\nCOPY . /c\nRUN test -e /c/Dockerfile && test ! -e /c/.git\n"
    files = {
        ".pushrod.yml": json.dumps({"name": "ci", "steps": steps}),
        "Dockerfile": dockerfile,
    }
    commit = await app.tree.commit(files)
    async with running_agent(coordinator, engine):
        found = values(await app.push())
    assert (found["head"], found["status"]) == (commit, "0")


VERSION = """\
import re, subprocess

described = subprocess.run(
    ["git", "describe", "--dirty", "--tags", "--long", "--match", "v*"],
    check=True, capture_output=True, text=True,
).stdout
tag, distance, commit, dirty = re.fullmatch(
    r"v([0-9.]+)-([0-9]+)-(g[0-9a-f]+)(-dirty)?\\n", described
).groups()
print("version=" + (tag if distance == "0" and not dirty else f"{tag}.dev{distance}+{commit}"))
"""


async def test_a_python_project_takes_its_version_from_its_tags(
    coordinator: Coordinator, app: Project, engine: Engine | None, image: str
) -> None:
    files = {
        ".pushrod.yml": workflow("python3 tools/version.py", image, git="full"),
        "tools/version.py": VERSION,
        "pyproject.toml": '[project]\nname = "app"\ndynamic = ["version"]\n',
        "src/app/__init__.py": "",
    }
    await app.tree.commit(files)
    await app.tree.git("tag", "v1.4")
    await app.tree.push("main")
    async with running_agent(coordinator, engine):
        app.builds = 1
        assert values(await app.push("v1.4"))["version"] == "1.4"
        commit = await app.tree.commit({"src/app/more.py": ""})
        assert values(await app.push())["version"].startswith(f"1.4.dev1+g{commit[:7]}")


async def test_no_credential_is_in_it_and_its_submodules_are_no_change(
    coordinator: Coordinator,
    admin: Caller,
    app: Project,
    tmp_path: Path,
    engine: Engine | None,
    image: str,
) -> None:
    library = await admin.new_project(name="lib")
    lib = await new_work_tree(tmp_path, admin, library, "lib")
    lib_commit = await lib.commit({"file": "of the library"})
    await lib.push()
    await add_submodule(app.tree, "lib", "../lib.git", lib_commit)
    script = LOOK + "cat lib/file; grep -rilE 'authorization|bearer|token' .git && exit 1; true\n"
    await app.tree.commit({".pushrod.yml": workflow(script, image)})
    async with running_agent(coordinator, engine):
        build = await app.push()
    assert values(build)["status"] == "0", build["log"]
    assert "of the library" in build["log"]


# At a forge, on the host engine


@pytest.fixture
async def forge(tmp_path: Path) -> AsyncIterator[Forge]:
    async with open_forge(tmp_path) as forge:
        yield forge


async def test_a_forges_tags_and_branches_come_for_a_whole_history(
    coordinator: Coordinator, forge: Forge, tmp_path: Path
) -> None:
    repository = await forge.new_repository(tmp_path / "remote")
    project, hook = await remote_project(coordinator, repository.url)
    first = await repository.push({".pushrod.yml": workflow(LOOK, "base", git="full")})
    await repository.tree.git("tag", "-a", "v1", "-m", "one")
    await repository.tree.git("push", "-q", "origin", "v1")
    second = await repository.push({"file": "2"})
    async with running_agent(coordinator):
        await hook.github("push", push_payload(repository.url, second))
        build = await finished(coordinator.admin, project)
    found = values(build)
    assert (found["head"], found["commits"], found["status"]) == (second, "2", "0"), build
    assert (found["tags"], found["base"]) == ("v1", second)
    assert found["described"].startswith("v1-1-g")
    assert first != second


async def test_a_forks_build_sees_only_the_branches_that_concern_it(
    coordinator: Coordinator, forge: Forge, tmp_path: Path
) -> None:
    repository = await forge.new_repository(tmp_path / "remote")
    project, hook = await remote_project(coordinator, repository.url)
    main = await repository.push({"file": "1"})
    await repository.push({"file": "2"}, ref="refs/heads/other")
    script = LOOK + "echo branches=$(git branch -r | xargs)\n"
    files = {".pushrod.yml": workflow_with_pull_requests(script)}
    sha = await repository.push(files, ref="refs/pull/7/head")
    payload = {
        "action": "opened",
        "number": 7,
        "pull_request": {
            "head": {"ref": "main", "sha": sha, "repo": {"id": 2}},
            "base": {"ref": "main", "repo": {"id": 1}},
        },
        "repository": {"clone_url": repository.url},
    }
    (await hook.github("pull_request", payload)).expect(202)
    [held] = await coordinator.admin.builds(project)
    async with running_agent(coordinator):
        await coordinator.admin.post(f"/api/projects/-/builds/{held['id']}/approve")
        build = await finished(coordinator.admin, project)
    found = values(build)
    assert (found["head"], found["status"]) == (sha, "0"), build
    assert (found["branches"], found["base"]) == ("origin/main", main)


def workflow_with_pull_requests(script: str) -> str:
    step = {"name": "look", "image": "base", "run": script, "git": "full"}
    return json.dumps({"name": "ci", "on": {"pullRequest": {}}, "steps": [step]})
