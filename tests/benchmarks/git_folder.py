"""What `.git` adds to a step: a chain on a repository of 5,000 files whose steps have it and have
it not in turns, at a commit that agent and engine know."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from agent.engines.private import ensure_base_image, up
from tests.benchmarks.samples import Row, over_floor
from tests.e2e.processes import Pushrod, Repository, running

FILES, FILE_BYTES = 5_000, 2_000
STEPS = 7
BUILDS = 2


def measure_host(folder: Path) -> list[Row]:
    repository = _large_repository(folder / "repository", "any")
    with running(folder, "host") as pushrod:
        return [_row(pushrod, repository, "host engine")]


def measure_buildkit(folder: Path) -> list[Row]:
    engine = asyncio.run(up(reuse=False))
    image = asyncio.run(ensure_base_image(address=engine))
    repository = _large_repository(folder / "repository", image)
    with running(folder, "auto") as pushrod:
        return [_row(pushrod, repository, "BuildKit")]


def _row(pushrod: Pushrod, repository: Repository, words: str) -> Row:
    project = pushrod.create_project("large")
    repository.push(project["pushUrl"], pushrod.api.token, check=True)
    steps: dict[bool, list[float]] = {True: [], False: []}
    [build] = pushrod.api.builds(project["id"])
    pushrod.api.wait_finished(build["id"], seconds=400)  # which warms agent and engine up
    asked = {"workflowId": build["workflowId"], "branch": "main"}
    for _ in range(BUILDS):
        made = pushrod.api.post(f"/api/projects/{project['id']}/builds", asked)
        again = pushrod.api.wait_finished(made["id"], seconds=400)
        for has_git, seconds in _of_each_kind(again):
            steps[has_git].append(seconds)
    return over_floor(
        f"step with `.git`, {FILES:,} files, warm, {words}; floor: `git: false`",
        steps[True],
        steps[False],
        to_hold="floor + 20 ms",
    )


def _of_each_kind(build: dict[str, Any]) -> Sequence[tuple[bool, float]]:
    """Whether it has `.git`, and seconds from its predecessor's end to its own, for all but the
    first."""
    assert build["state"] == "succeeded", build
    ends = [datetime.fromisoformat(step["finishedAt"]).timestamp() for step in build["steps"]]
    taken = [end - before for before, end in pairwise(ends)]
    return [(_has_git(number), seconds) for number, seconds in enumerate(taken, start=1)]


def _has_git(number: int) -> bool:
    return number % 2 == 0


def _large_repository(folder: Path, image: str) -> Repository:
    repository, numbers = Repository.create(folder), random.Random(1)
    for number in range(FILES):
        ballast = numbers.randbytes(FILE_BYTES // 2).hex()
        repository.write(f"d{number % 100:02}/f{number}.txt", ballast)
    lines = ["name: chain", "on: {push: {}, manual: {}}", "steps:"]
    for number in range(STEPS):
        after = f", dependsOn: [s{number - 1}]" if number else ""
        git = str(_has_git(number)).lower()
        lines.append(f"  - {{name: s{number}, image: '{image}', run: 'true', git: {git}{after}}}")
    repository.write(".pushrod.yml", "\n".join(lines) + "\n")
    repository.commit("large")
    return repository
