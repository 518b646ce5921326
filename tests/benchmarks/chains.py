"""Chains of steps that have something and have it not in turns: what it takes.

Of each step that has it beside the mean of its two neighbours, so that a machine that grows slower
counts for nothing.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any

from tests.benchmarks.samples import Row, quantiles
from tests.e2e.processes import Pushrod, Repository


def in_turns(
    pushrod: Pushrod, repository: Repository, *, builds: int
) -> tuple[Sequence[float], Sequence[float]]:
    """Of a project that the repository is pushed to, in seconds: what the steps without it took,
    the second, the fourth and so on, and how much more those with it, the others. The first build
    warms up."""
    project = pushrod.create_project("chain")
    repository.push(project["pushUrl"], pushrod.api.token, check=True)
    [build] = pushrod.api.builds(project["id"])
    pushrod.api.wait_finished(build["id"], seconds=400)
    asked = {"workflowId": build["workflowId"], "branch": "main"}
    more: list[float] = []
    floor: list[float] = []
    for _ in range(builds):
        made = pushrod.api.post(f"/api/projects/{project['id']}/builds", asked)
        taken = _taken(pushrod.api.wait_finished(made["id"], seconds=400))
        floor += taken[::2]
        more += [
            with_it - (before + after) / 2
            for before, with_it, after in zip(taken[::2], taken[1::2], taken[2::2], strict=False)
        ]
    return floor, more


def more_than_floor(
    what: str, floor: Sequence[float], more: Sequence[float], *, to_hold: str
) -> Row:
    low, _, high = statistics.quantiles(more, n=4)
    return Row(
        what=what,
        measured=f"{statistics.median(more) * 1000:+.0f} ms median, the middle half "
        f"{low * 1000:+.0f} to {high * 1000:+.0f} (n={len(more)}, each beside its neighbours)",
        floor=quantiles(floor),
        to_hold=to_hold,
    )


def _taken(build: dict[str, Any]) -> Sequence[float]:
    """From its predecessor's end to its own, for all steps but the first."""
    assert build["state"] == "succeeded", build
    ends = [datetime.fromisoformat(step["finishedAt"]).timestamp() for step in build["steps"]]
    return [end - before for before, end in pairwise(ends)]
