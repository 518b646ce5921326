"""Projects as people have them: what their tools leave behind in links, caches and outputs, and
what they ask of git, by pushes on each engine. Where a tool is not in the image, a script of the
project does to files what the tool would."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agent.engines.buildkit.engine import BuildKitEngine
from agent.engines.private import ensure_base_image
from tests.integration.coordinator_fixture import Coordinator, new_work_tree, open_coordinator
from tests.integration.source_fixture import finished, running_agent

LAYOUTS = Path(__file__).with_name("layouts")


@pytest.fixture
async def coordinator(tmp_path: Path) -> AsyncIterator[Coordinator]:
    async with open_coordinator(tmp_path) as coordinator:
        yield coordinator


@pytest.fixture(params=["host", pytest.param("buildkit", marks=pytest.mark.engine)])
def place(request: pytest.FixtureRequest) -> tuple[str | None, str]:
    """The engine's address, None for the host engine, and an image with git and Python."""
    if request.param == "host":
        return None, "base"
    address: str = request.getfixturevalue("buildkit").address
    return address, asyncio.run(ensure_base_image(lambda _: None))


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    commit: str
    printed: dict[str, str]
    """The lines `name=value` of its build's log."""


Push = Callable[[str], Awaitable[Sequence[Pushed]]]


@pytest.fixture
async def push_twice(
    coordinator: Coordinator, place: tuple[str | None, str], tmp_path: Path
) -> AsyncIterator[Push]:
    """Push a layout with the tag `v1.4`, then a commit that only adds the file `more`."""
    address, image = place
    engine = None
    if address is not None:
        engine = BuildKitEngine(address, data_dir=tmp_path / "engine", log_limits_lifted=True)
        await engine.check()

    async def pushed(layout: str) -> Sequence[Pushed]:
        project = await coordinator.admin.new_project(name=layout)
        tree = await new_work_tree(tmp_path, coordinator.admin, project, layout)
        shutil.copytree(LAYOUTS / layout, tree.folder, dirs_exist_ok=True)
        workflow = (LAYOUTS / layout / ".pushrod.yml").read_text().replace("IMAGE", f'"{image}"')
        commits = [await tree.commit({".pushrod.yml": workflow})]
        await tree.git("tag", "v1.4")
        await tree.push("main", "v1.4")
        async with running_agent(coordinator, engine):
            builds = [await finished(coordinator.admin, project, 1)]
            commits.append(await tree.commit({"more": ""}))
            await tree.push()
            builds.append(await finished(coordinator.admin, project, 2))
        return [Pushed(commit=c, printed=printed(b)) for c, b in zip(commits, builds, strict=True)]

    yield pushed
    if engine is not None:
        await engine.close()


def printed(build: Mapping[str, Any]) -> dict[str, str]:
    assert build["state"] == "succeeded", build["log"] + build["message"]
    lines = str(build["log"]).splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


async def test_a_python_project_is_installed_and_used_by_the_next_step(push_twice: Push) -> None:
    """Its version is from `git describe`, its virtualenv an output, pip's cache kept."""
    first, second = await push_twice("python")
    common = {
        "interpreter": "a link",
        "from": "app/__init__.py",
        "wheels": "1",
        "untracked": "0",
        "untracked-later": "0",
    }
    assert first.printed == common | {"version": "1.4", "cached": "0"}
    version = f"1.4.dev1+g{second.commit[:7]}"
    assert second.printed == common | {"version": version, "cached": "1"}


async def test_a_go_project_builds_with_its_module_cache_and_commit(push_twice: Push) -> None:
    """Modules in the cache are folders that nobody may write to."""
    first, second = await push_twice("go")
    for pushed, module, object_ in ((first, "downloaded", "built"), (second, "cached", "cached")):
        assert pushed.printed == {
            "module": module,
            "object": object_,
            "link": f"app-{pushed.commit[:12]}",
            "vcs.revision": pushed.commit,
            "vcs.modified": "false",
        }


async def test_a_node_project_keeps_its_links_to_programs_and_packages(push_twice: Push) -> None:
    first, second = await push_twice("node")
    common = {
        "said": "hello",
        "program": "../hello/bin/hello.sh",
        "workspace": "../../packages/util",
        "untracked": "0",
        "untracked-later": "0",
    }
    assert first.printed == common | {"hello": "fetched"}
    assert second.printed == common | {"hello": "cached"}


async def test_a_c_project_generates_and_links_what_it_commits(push_twice: Push) -> None:
    first, second = await push_twice("c")
    common = {
        "colours": "2",
        "links": "libx.so.1 libx.so.1.0",
        "newer": "yes",
        "untracked": "0",
    }
    for pushed, how in ((first, "compiled"), (second, "cached")):
        assert pushed.printed == common | {"libx.so.1.0": how, "app": how}
