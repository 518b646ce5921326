"""A chain of steps that do nothing, over the engine's own floor for as many bare processes."""

from __future__ import annotations

import asyncio
import secrets
import statistics
import time
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from agent.engines.buildkit import llb
from agent.engines.buildkit.build import open_build
from agent.engines.buildkit.client import connect
from agent.engines.buildkit.session import open_session
from agent.engines.private import ensure_test_image, up
from tests.benchmarks.samples import quantiles
from tests.e2e.processes import Pushrod, Repository, running

STEPS = 10
BUILDS = 3


def measure(folder: Path) -> list[str]:
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
            bare = asyncio.run(bare_processes(engine.url, image))
            taken = run_chain(pushrod, repository, project)
            if number > 0:  # the first round fetches the image
                floors += bare
                steps += taken
    overhead = statistics.median(steps) - statistics.median(floors)
    return [
        f"BuildKit alone, one `true`:             {quantiles(floors)}",
        f"no-op step in a chain, end to end:      {quantiles(steps)}",
        f"pushrod's part of it (medians):         {overhead * 1000:.0f} ms",
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
    build = pushrod.api.wait_finished(pushrod.api.builds(project["id"])[0]["id"])
    assert build["state"] == "succeeded", build
    ends = [datetime.fromisoformat(step["finishedAt"]).timestamp() for step in build["steps"]]
    return [end - before for before, end in pairwise(ends)]


async def bare_processes(address: str, image: str) -> list[float]:
    """Seconds that the engine takes for `true` on the image, without anything of ours around."""
    seconds = []
    async with await connect(address) as client:
        workers = await client.workers()
        architecture = workers.record[0].platforms[0].Architecture
        platform = llb.Platform(architecture=architecture)
        async with (
            open_session(client, shared_key="bench", handlers={}) as session,
            open_build(
                client,
                attempt_id=f"bench-{secrets.token_hex(4)}",
                session=session,
                take_report=lambda report: None,
            ) as build,
        ):
            for _ in range(STEPS):
                process = llb.Process(
                    arguments=("/bin/true",),
                    # Never the same twice: a cached result would measure nothing.
                    environment={"PATH": "/bin", "BENCH": secrets.token_hex(8)},
                    directory="/",
                    mounts=[
                        llb.Mount(destination="/", source=llb.image(image, platform), keep=True)
                    ],
                )
                vertex = llb.execute(process, platform=platform, description="bench")
                began = time.perf_counter()
                await build.solve(llb.definition(vertex.output()))
                seconds.append(time.perf_counter() - began)
            await build.finish("")
    return seconds
