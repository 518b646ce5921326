"""What a service adds to a step: beyond its own readiness, which is none where it is asked for
nothing but a port that it opens at once."""

from __future__ import annotations

import asyncio
from pathlib import Path

from agent.engines.private import ensure_test_image, up
from tests.benchmarks.chains import in_turns, more_than_floor
from tests.benchmarks.samples import Row
from tests.e2e.processes import Repository, running

STEPS = 12
BUILDS = 3


def measure(folder: Path) -> list[Row]:
    engine = asyncio.run(up(reuse=False))
    image = asyncio.run(ensure_test_image(print, address=engine))
    repository = Repository.create(folder / "repository")
    repository.write(".pushrod.yml", _workflow(image))
    repository.commit("a chain")
    with running(folder, "auto") as pushrod:
        floor, more = in_turns(pushrod, repository, builds=BUILDS)
    what = "a service that is ready at once, of a step; floor: a step without one"
    return [more_than_floor(what, floor, more, to_hold="≤ 150 ms")]


def _workflow(image: str) -> str:
    lines = ["name: chain", "on: {push: {}, manual: {}}", "steps:"]
    for number in range(STEPS):
        lines += [
            f"  - name: s{number}",
            f"    image: {image}",
            "    run: 'true'",
            "    git: false",
        ]
        if number:
            lines.append(f"    dependsOn: [s{number - 1}]")
        if number % 2 == 0:
            web = f"{{image: '{image}', command: [httpd, -f, -p, '80'], ready: {{tcp: 80}}}}"
            lines.append(f"    services: {{web: {web}}}")
    return "\n".join(lines) + "\n"
