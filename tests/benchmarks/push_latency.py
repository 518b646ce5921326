"""From the answer of `git push` to the first line of the script."""

from __future__ import annotations

import asyncio
from pathlib import Path

from agent.engines.private import ensure_test_image, up
from tests.benchmarks.floor import UPTIME_SCRIPT, first_lines, uptime
from tests.benchmarks.samples import Row, over_floor, quantiles
from tests.e2e.processes import Pushrod, Repository, running

PUSHES = 20


def measure_host(folder: Path) -> list[Row]:
    with running(folder) as pushrod:
        answers, ours = Pushes(folder, pushrod, "any").measure(PUSHES)
    return [
        Row(what="git push, start to answer", measured=quantiles(answers)),
        Row(
            what="push answered → first line, host engine",
            measured=quantiles(ours),
            to_hold="≤ 80 ms",
        ),
    ]


def measure_buildkit(folder: Path) -> list[Row]:
    """Floor and pushes in turns, so that both see the same machine."""
    engine = asyncio.run(up(reuse=False))
    image = asyncio.run(ensure_test_image(address=engine))
    ours: list[float] = []
    floor: list[float] = []
    with running(folder, "auto") as pushrod:
        pushes = Pushes(folder, pushrod, image)
        pushes.measure(1)  # fetches the image
        for _ in range(4):
            floor += asyncio.run(first_lines(engine.url, image, PUSHES // 4))
            ours += pushes.measure(PUSHES // 4)[1]
    return [
        over_floor("push answered → first line, BuildKit", ours, floor, to_hold="≤ floor + 110 ms")
    ]


class Pushes:
    """Pushes of one project, each built by one step that prints the time."""

    def __init__(self, folder: Path, pushrod: Pushrod, image: str) -> None:
        self._pushrod = pushrod
        self._project = pushrod.create_project("latency")
        self._repository = Repository.create(folder / "repository")
        self._repository.write(
            ".pushrod.yml",
            f"steps: [{{name: first, image: '{image}', run: '{UPTIME_SCRIPT}'}}]\n",
        )

    def measure(self, count: int) -> tuple[list[float], list[float]]:
        """Seconds of each push, and from its answer to the first line: one clock for both."""
        api = self._pushrod.api
        answers, lines = [], []
        for number in range(count):
            self._repository.commit(f"push {number}")
            began = uptime()
            self._repository.push(self._project["pushUrl"], api.token, check=True)
            answered = uptime()
            build = api.wait_finished(api.builds(self._project["id"])[0]["id"])
            assert build["state"] == "succeeded", build
            ran = float(api.log(build["steps"][0]["id"]))
            answers.append(answered - began)
            lines.append(max(0.0, ran - answered))
        return answers, lines
