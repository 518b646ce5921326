"""Repositories with submodules and LFS files, and an agent that builds from them."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from agent.engines.host import HostEngine
from agent.engines.host_trees import remove_tree
from agent.engines.protocol import Engine
from agent.settings import AgentSettings
from agent.worker import Agent
from tests.integration.coordinator_fixture import Caller, Coordinator, WorkTree

PATIENCE_SECONDS = 60.0


def workflow_of(script: str, image: str = "base") -> str:
    """One step of that script, which must have no double quotes, for pushes and by hand."""
    step = f'steps: [{{name: look, image: "{image}", run: "{script}"}}]\n'
    return "name: ci\non: {push: {}, pullRequest: {}, manual: {}}\n" + step


async def add_submodule(tree: WorkTree, path: str, url: str, commit: str) -> None:
    """Stage a submodule as `git submodule add` would, whatever its URL."""
    (tree.folder / path).mkdir(parents=True, exist_ok=True)
    await set_submodule(tree, path, path=path, url=url)
    await tree.git("update-index", "--add", "--cacheinfo", f"160000,{commit},{path}")


async def set_submodule(tree: WorkTree, name: str, **settings: str) -> None:
    for key, value in settings.items():
        await tree.git("config", "-f", ".gitmodules", f"submodule.{name}.{key}", value)


async def track_with_lfs(tree: WorkTree, pattern: str = "*.bin") -> None:
    """From here on real git-lfs keeps files of that pattern."""
    await tree.git("lfs", "install", "--local")
    await tree.git("lfs", "track", pattern)


@asynccontextmanager
async def running_agent(
    coordinator: Coordinator, engine: Engine | None = None
) -> AsyncIterator[Agent]:
    """An agent of this process on the host engine, or another."""
    # Not tmp_path: pytest makes that unreachable for the user scripts run as.
    root = Path(tempfile.mkdtemp(prefix="pushrod-agent-"))
    root.chmod(0o711)
    settings = AgentSettings(
        url=coordinator.url,
        token=coordinator.admin.token or "",
        data_dir=root / "data",
        name="agent",
        cancel_report_seconds=3.0,
    )
    agent = Agent(
        settings, engine or HostEngine(data_dir=settings.data_dir, work_dir=root / "work")
    )
    running = asyncio.create_task(agent.run())
    try:
        yield agent
    finally:
        agent.cancel_all()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(running, PATIENCE_SECONDS)
        await asyncio.to_thread(remove_tree, root)


async def finished(caller: Caller, project: Mapping[str, Any], number: int = 1) -> dict[str, Any]:
    """The project's build of that number once it has ended, with `log`: what its step printed."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            for build in await caller.builds(project):
                if build["number"] == number and build["state"] in ("succeeded", "failed"):
                    return await _with_log(caller, build["id"])
            await asyncio.sleep(0.05)


async def _with_log(caller: Caller, build_id: str) -> dict[str, Any]:
    build = await caller.build(build_id)
    log, message = "", ""
    for step in build["steps"]:
        log += (await caller.get(f"/api/steps/{step['id']}/log")).expect(200).text
        message += step.get("message", "")
    return build | {"log": log, "message": message}
