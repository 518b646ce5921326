"""A chain of steps that do nothing, over the engine's own floor for one bare process."""

from __future__ import annotations

import asyncio
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from agent.engines.private import ensure_test_image, up
from tests.benchmarks.floor import solves
from tests.benchmarks.samples import Row, over_floor
from tests.e2e.processes import Pushrod, Repository, running

STEPS = 20
BUILDS = 3


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
            to_hold="≤ 1.3 × floor + 50 ms",
        )
    ]


def chain(image: str) -> str:
    """Each step waits for the one before."""
    lines = ["name: chain", "steps:"]
    for number in range(STEPS):
        after = f", dependsOn: [s{number - 1}]" if number else ""
        lines.append(f"  - {{name: s{number}, image: '{image}', run: 'true'{after}}}")
    return "\n".join(lines) + "\n"


def run_chain(pushrod: Pushrod, repository: Repository, project: dict[str, str]) -> list[float]:
    """Seconds from each step's predecessor's end to its own end."""
    repository.commit("again")
    repository.push(project["pushUrl"], pushrod.api.token, check=True)
    build = pushrod.api.wait_finished(pushrod.api.builds(project["id"])[0]["id"], seconds=180)
    assert build["state"] == "succeeded", build
    ends = [datetime.fromisoformat(step["finishedAt"]).timestamp() for step in build["steps"]]
    return [end - before for before, end in pairwise(ends)]
