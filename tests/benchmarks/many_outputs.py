"""A step that leaves 2,000 files, and one that takes them on the same agent, on the host engine."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from tests.benchmarks.samples import Row, quantiles
from tests.benchmarks.throughput import cpu_seconds
from tests.e2e.processes import Pushrod, Repository, step_named

FILES = 2_000
BUILDS = 3
MOST_SECONDS = 10
MOST_CPU_MS = 3.0
"""Of the coordinator, for each file: where it was 26 once."""
WORKFLOW = f"""\
name: many
on: {{push: {{}}, manual: {{}}}}
steps:
  - name: make
    image: any
    run: mkdir o; for n in $(seq {FILES}); do echo "file $n" > o/$n; done
    outputPaths: [o]
  - name: use
    image: any
    dependsOn: [make]
    run: test $(ls o | wc -l) = {FILES}
"""


def measure(folder: Path) -> list[Row]:
    folder.mkdir(parents=True)
    pushrod = Pushrod(folder)
    pushrod.start_coordinator()
    try:
        pushrod.start_agent(slots=1)
        return _rows(pushrod, Repository.create(folder / "repository"))
    finally:
        pushrod.stop()


def _rows(pushrod: Pushrod, repository: Repository) -> list[Row]:
    project = pushrod.create_project("many")
    first = pushrod.push_workflow(repository, project, WORKFLOW)
    _finished(pushrod, first["id"])  # which warms both up
    asked = {"workflowId": first["workflowId"], "branch": "main"}
    made: list[float] = []
    used: list[float] = []
    before = cpu_seconds(pushrod)
    for _ in range(BUILDS):
        build = pushrod.api.post(f"/api/projects/{project['id']}/builds", asked)
        ended = _finished(pushrod, build["id"])
        made.append(_seconds(step_named(ended, "make")))
        used.append(_seconds(step_named(ended, "use")))
    after = cpu_seconds(pushrod)
    each = {name: (after[name] - before[name]) / (BUILDS * FILES) * 1000 for name in after}
    return [
        Row(
            what=f"step that leaves {FILES:,} files, from its begin to its end",
            measured=quantiles(made),
            to_hold=f"≤ {MOST_SECONDS} s",
        ),
        Row(what="step that takes them, on the same agent", measured=quantiles(used)),
        Row(
            what="processor time of each of them, left and taken, coordinator",
            measured=f"{each['coordinator']:.2f} ms",
            to_hold=f"≤ {MOST_CPU_MS:g} ms",
        ),
        Row(what="the same, agent", measured=f"{each['agent']:.2f} ms"),
    ]


def _finished(pushrod: Pushrod, build_id: str) -> dict[str, Any]:
    build = pushrod.api.wait_finished(build_id, seconds=300)
    assert build["state"] == "succeeded", build
    return build


def _seconds(step: dict[str, Any]) -> float:
    begin, end = (datetime.fromisoformat(step[at]) for at in ("startedAt", "finishedAt"))
    return (end - begin).total_seconds()
