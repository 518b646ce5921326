"""Chains of steps that do nothing: on BuildKit over the engine's own floor for one bare process, on
the host over a request, a commit and bash."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Mapping
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from agent.engines.private import ensure_test_image, up
from tests.benchmarks.floor import solves
from tests.benchmarks.samples import Row, over_floor
from tests.benchmarks.step_floor import Floor, bare_steps
from tests.benchmarks.throughput import cpu_seconds, wait_for_all
from tests.e2e.processes import Pushrod, Repository, running

STEPS = 20
HOST_STEPS = 50
BUILDS = 3
QUIET_SECONDS = 3.0
"""About as long as a chain takes: meanwhile nobody asks, so that asking is not measured."""
MOST_CPU = {"coordinator": 20, "agent": 16}
"""Times the floor's; half as much again as was measured when this was written."""


def measure(folder: Path) -> list[Row]:
    """Floor and chain are measured in turns, so that both see the same machine."""
    engine = asyncio.run(up(reuse=False))
    image = asyncio.run(ensure_test_image(address=engine))
    floors: list[float] = []
    steps: list[float] = []
    with running(folder, "auto") as pushrod:
        project = pushrod.create_project("chain")
        repository = Repository.create(folder / "repository")
        repository.write(".pushrod.yml", chain(image))
        for number in range(BUILDS + 1):
            bare = asyncio.run(solves(engine.url, image, STEPS))
            taken = run_chain(pushrod, repository, project)
            if number > 0:  # the first round fetches the image
                floors += bare
                steps += taken
    return [
        over_floor(
            f"no-op step in a chain of {STEPS}, BuildKit",
            steps,
            floors,
            to_hold="≤ 1.1 × floor + 30 ms",
        )
    ]


def measure_host(folder: Path) -> list[Row]:
    """Steps without source, so that what is measured is the way of a step and nothing else."""
    folder.mkdir(parents=True)
    pushrod = Pushrod(folder)
    pushrod.start_coordinator()
    steps: list[float] = []
    floors: list[Floor] = []
    try:
        pushrod.start_agent(slots=1)
        project = pushrod.create_project("chain")
        workflow = pushrod.api.post(
            f"/api/projects/{project['id']}/workflows",
            {"name": "chain", "steps": _plain_steps(HOST_STEPS)},
        )
        for number in range(BUILDS + 1):
            if number == 1:  # the first round warms both up
                before = cpu_seconds(pushrod)
            floors.append(bare_steps(HOST_STEPS))
            made = pushrod.api.post(
                f"/api/projects/{project['id']}/builds", {"workflowId": workflow["id"]}
            )
            time.sleep(QUIET_SECONDS)
            wait_for_all(pushrod, project["id"], number + 1)
            taken = _between_ends(pushrod.api.build(made["id"]))
            steps += taken if number else []
        after = cpu_seconds(pushrod)
    finally:
        pushrod.stop()
    return [
        over_floor(
            f"no-op step in a chain of {HOST_STEPS}, host engine",
            steps,
            [second for floor in floors for second in floor.seconds],
            to_hold="≤ 12 ms",
        ),
        *_cpu_rows(
            {name: (after[name] - before[name]) / (BUILDS * HOST_STEPS) for name in after},
            statistics.median(floor.server_cpu for floor in floors),
        ),
    ]


def _cpu_rows(cpu: Mapping[str, float], floor: float) -> list[Row]:
    """Seconds of each process for a step, beside those of a server that does nothing else."""
    return [
        Row(
            what=f"processor time of one such step, {name}",
            measured=f"{seconds * 1000:.1f} ms",
            floor=f"{floor * 1000:.1f} ms",
            ratio=f"{seconds / floor:.1f}",
            to_hold=f"≤ {MOST_CPU[name]} × floor",
            exceeded=f"the {name} takes {seconds / floor:.1f} × the floor for a step"
            if seconds > MOST_CPU[name] * floor
            else "",
        )
        for name, seconds in cpu.items()
    ]


def _plain_steps(count: int) -> list[dict[str, Any]]:
    return [
        {
            "name": f"s{number}",
            "imageSlug": "any",
            "dependsOn": [f"s{number - 1}"] if number else [],
            "runScript": "true",
            "cacheDirs": [],
            "outputPaths": [],
        }
        for number in range(count)
    ]


def chain(image: str) -> str:
    """Each step waits for the one before."""
    lines = ["name: chain", "steps:"]
    for number in range(STEPS):
        after = f", dependsOn: [s{number - 1}]" if number else ""
        lines.append(f"  - {{name: s{number}, image: '{image}', run: 'true', git: false{after}}}")
    return "\n".join(lines) + "\n"


def run_chain(pushrod: Pushrod, repository: Repository, project: dict[str, str]) -> list[float]:
    """Seconds from each step's predecessor's end to its own end."""
    repository.commit("again")
    repository.push(project["pushUrl"], pushrod.api.token, check=True)
    return _between_ends(
        pushrod.api.wait_finished(pushrod.api.builds(project["id"])[0]["id"], seconds=180)
    )


def _between_ends(build: dict[str, Any]) -> list[float]:
    assert build["state"] == "succeeded", build
    ends = [datetime.fromisoformat(step["finishedAt"]).timestamp() for step in build["steps"]]
    return [end - before for before, end in pairwise(ends)]
