"""From the answer of `git push` to the first line of the script, on the host engine."""

from __future__ import annotations

import time
from pathlib import Path

from tests.benchmarks.samples import quantiles
from tests.e2e.processes import Repository, running

PUSHES = 20
WORKFLOW = "name: ci\nsteps: [{name: first, image: any, run: 'date +%s%N'}]\n"


def measure(folder: Path) -> list[str]:
    """Script and push are timed by the same clock, this machine's."""
    answers, first_lines = [], []
    with running(folder) as pushrod:
        project = pushrod.create_project("latency")
        repository = Repository.create(folder / "repository")
        repository.write(".pushrod.yml", WORKFLOW)
        for number in range(PUSHES):
            repository.commit(f"push {number}")
            began = time.time()
            repository.push(project["pushUrl"], pushrod.api.token, check=True)
            answered = time.time()
            build = pushrod.api.wait_finished(pushrod.api.builds(project["id"])[0]["id"])
            assert build["state"] == "succeeded", build
            ran = int(pushrod.api.log(build["steps"][0]["id"])) / 1e9
            answers.append(answered - began)
            first_lines.append(max(0.0, ran - answered))
    return [
        f"git push, start to answer:              {quantiles(answers)}",
        f"push answered → script's first line:    {quantiles(first_lines)}",
    ]
