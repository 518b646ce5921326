"""300 builds that do nothing, queued at once on eight slots of the host engine."""

from __future__ import annotations

import asyncio
import os
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp

from tests.benchmarks.memory import family
from tests.benchmarks.samples import Row
from tests.e2e.processes import Pushrod

BUILDS = 300
SLOTS = 8
PARALLEL_CALLS = 8
TICKS = os.sysconf("SC_CLK_TCK")


def measure(folder: Path) -> list[Row]:
    """By the coordinator's times: from the first build's creation to the last one's end."""
    folder.mkdir(parents=True)
    pushrod = Pushrod(folder)
    pushrod.start_coordinator()
    try:
        pushrod.start_agent(slots=SLOTS)
        project = pushrod.create_project("many")
        workflow = pushrod.api.post(
            f"/api/projects/{project['id']}/workflows",
            {"name": "nothing", "steps": [_step()]},
        )
        path = f"/api/projects/{project['id']}/builds"
        body = {"workflowId": workflow["id"]}
        asyncio.run(_queue(pushrod, path, body, 2 * SLOTS))  # warms both up
        wait_for_all(pushrod, project["id"], 2 * SLOTS)
        before = cpu_seconds(pushrod)
        asyncio.run(_queue(pushrod, path, body, BUILDS))
        builds = wait_for_all(pushrod, project["id"], 2 * SLOTS + BUILDS)[:BUILDS]
        after = cpu_seconds(pushrod)
    finally:
        pushrod.stop()
    assert {build["status"] for build in builds} == {"SUCCESS"}
    created = [_time(build, "createdAt") for build in builds]
    seconds = max(_time(build, "finishedAt") for build in builds) - min(created)
    cpu = {name: (after[name] - before[name]) / BUILDS * 1000 for name in after}
    return [
        Row(
            what=f"{BUILDS} no-op builds at once, {SLOTS} host slots",
            measured=f"{BUILDS / seconds:.0f} builds/s ({seconds:.1f} s, all queued after "
            f"{max(created) - min(created):.1f} s)",
            to_hold="≥ 90 builds/s",
        ),
        Row(
            what="CPU time of one such build",
            measured=", ".join(f"{name} {value:.0f} ms" for name, value in cpu.items()),
        ),
    ]


def _step() -> dict[str, Any]:
    return {
        "name": "nothing",
        "imageSlug": "any",
        "dependsOn": [],
        "runScript": "true",
        "cacheDirs": [],
        "outputPaths": [],
    }


async def _queue(pushrod: Pushrod, path: str, body: dict[str, Any], count: int) -> None:
    headers = {"Authorization": f"Bearer {pushrod.api.token}"}
    left = iter(range(count))

    async def create(session: aiohttp.ClientSession) -> None:
        for _ in left:
            async with session.post(pushrod.api.url + path, json=body) as answer:
                assert answer.status == 201, await answer.text()

    async with aiohttp.ClientSession(headers=headers) as session, asyncio.TaskGroup() as group:
        for _ in range(PARALLEL_CALLS):
            group.create_task(create(session))


def wait_for_all(pushrod: Pushrod, project_id: str, count: int) -> list[dict[str, Any]]:
    """The builds, newest first, once all have ended."""
    deadline = time.monotonic() + 120
    while True:
        # One small answer, so that asking costs the coordinator next to nothing.
        page = pushrod.api.get(f"/api/projects/{project_id}/builds?limit=1&offset=0")
        newest = page["builds"][0]
        if newest["status"] in ("SUCCESS", "FAILED"):
            builds = pushrod.api.builds(project_id)
            if len(builds) == count and all("finishedAt" in build for build in builds):
                return builds
        assert time.monotonic() < deadline, newest
        time.sleep(0.1)


def _time(build: dict[str, Any], key: str) -> float:
    return datetime.fromisoformat(build[key]).timestamp()


def cpu_seconds(pushrod: Pushrod) -> dict[str, float]:
    """User and system time, with that of the children waited for.

    Not that of the scripts and their supervisors, which nobody waits for.
    """
    return {
        "coordinator": _cpu(pushrod.coordinator.pid),
        "agent": sum(map(_cpu, family(pushrod.agents["one"].pid))),
    }


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / TICKS
