"""What `.git` adds to a step on a repository of 5,000 files, at a commit that is known.

A chain whose steps have it and have it not in turns tells the time; what decides are the counts of
`tests.integration.git_counts`.
"""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
from pathlib import Path

from agent.engines.private import ensure_base_image, up
from tests.benchmarks.chains import in_turns, more_than_floor
from tests.benchmarks.samples import Row
from tests.e2e.processes import Pushrod, Repository, running
from tests.integration.agent.test_git_counts import MOST

FILES, FILE_BYTES = 5_000, 2_000
FEW_FILES = 100
"""Where the agent walks through all of them each time, which moves its processor time more than
`.git` does, and where what that costs doesn't depend on their number."""
STEPS = 8
BUILDS = 3
OF_A_STEP = {
    "requests": "requests to the coordinator",
    "fetches": "fetches",
    "processes": "processes that are started",
    "made": "files and folders that the agent makes",
    "cpuMs": "processor time of the agent, without that of `cp`",
}


def measure_host(folder: Path) -> list[Row]:
    repository = _large_repository(folder / "repository", "any")
    with running(folder, "host") as pushrod:
        return [_row(pushrod, repository, "host engine"), *_counted("host engine", FILES)]


def measure_buildkit(folder: Path) -> list[Row]:
    engine = asyncio.run(up(reuse=False))
    image = asyncio.run(ensure_base_image(address=engine))
    repository = _large_repository(folder / "repository", image)
    with running(folder, "auto") as pushrod:
        return [
            _row(pushrod, repository, "BuildKit"),
            *_counted("BuildKit", FEW_FILES, engine.url, image),
        ]


def _row(pushrod: Pushrod, repository: Repository, words: str) -> Row:
    floor, more = in_turns(pushrod, repository, builds=BUILDS)
    return more_than_floor(
        f"`.git` of a warm step, {FILES:,} files, {words}; floor: a step with `git: false`",
        floor,
        more,
        to_hold="≤ 20 ms",
    )


def _counted(words: str, files: int, *engine: str) -> list[Row]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.git_counts", str(files), *engine],
        check=True,
        stdout=subprocess.PIPE,
    )
    found: dict[str, float] = json.loads(done.stdout)
    return [
        _count_row(
            f"what `.git` adds, {files:,} files, {words}: {what}", found.get(name, 0.0), name
        )
        for name, what in OF_A_STEP.items()
    ]


def _count_row(what: str, count: float, name: str) -> Row:
    if name == "cpuMs":
        return Row(what=what, measured=f"{count:.1f} ms", to_hold="≤ 20 ms")
    return Row(
        what=what,
        measured=f"{count:.1f}",
        to_hold=f"≤ {MOST[name]}",
        exceeded=f"{what}: {count:.1f}, not {MOST[name]}" if count > MOST[name] else "",
    )


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
