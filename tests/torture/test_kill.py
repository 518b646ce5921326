"""kill -9 of any process during a step: the build still ends right, its log exact to the byte."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.processes import Pushrod, Repository, is_running, running, step_named
from tests.torture.length import by_length

ENGINES = ["host", pytest.param("buildkit", marks=pytest.mark.engine)]
SCRIPT = """\
name: killed
steps:
  - name: count
    image: {image}
    run: |
      for i in $(seq 1 30); do
        echo "line $i of the attempt"; head -c 20000 /dev/zero | tr '\\0' "$((i % 10))"; echo
        sleep 0.1
      done
      mkdir -p out; echo made > out/result
    outputPaths: [out/]
  - name: after
    image: {image}
    dependsOn: [count]
    run: cat out/result
"""
LOG = b"".join(
    f"line {i} of the attempt\n".encode() + str(i % 10).encode() * 20000 + b"\n"
    for i in range(1, 31)
)
VICTIMS = ["agent", "coordinator", "both"]
KILLS_A_BUILD = 4


@pytest.mark.parametrize("victim", VICTIMS)
@pytest.mark.parametrize("engine", ENGINES)
def test_a_build_survives_a_kill_in_the_middle_of_a_step(
    victim: str, engine: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    image = "any"
    if engine == "buildkit":
        parts = request.getfixturevalue("buildkit")
        engine, image = parts.address, parts.image
    with running(tmp_path / "pushrod", engine) as pushrod:
        project = pushrod.create_project("app")
        repository = Repository.create(tmp_path / "repository")
        build = pushrod.push_workflow(repository, project, SCRIPT.format(image=image))
        build = pushrod.api.wait(build["id"], is_running("count"))
        pushrod.api.wait_for_log(step_named(build, "count")["id"], b"line 8 of")
        kill_and_restart(pushrod, victim)
        build = pushrod.api.wait_finished(build["id"])
        assert build["state"] == "succeeded", build
        count, after = build["steps"]
        assert pushrod.api.log(count["id"]) == LOG
        assert pushrod.api.log(after["id"]) == b"made\n"
        # A coordinator that was away costs no work: the same attempt goes on.
        assert count["attempt"] == (1 if victim == "coordinator" else 2)


def kill_and_restart(pushrod: Pushrod, victim: str) -> None:
    if victim in ("agent", "both"):
        pushrod.agents["agent1"].kill()
    if victim in ("coordinator", "both"):
        pushrod.coordinator.kill()
        pushrod.restart_coordinator()
    if victim in ("agent", "both"):
        pushrod.start_agent("agent1")


def test_builds_survive_many_kills_at_random_moments(tmp_path: Path) -> None:
    """One build for each few kills, so that something runs at every one of them."""
    seed = random.randrange(10**6)
    print("seed", seed)  # noqa: T201 - to repeat a failure
    dice = random.Random(seed)
    steps = "".join(
        f"  - name: s{i}\n    image: any\n    retries: {{max: 10, on: [lost]}}\n    run: |\n"
        f"      for n in $(seq 1 200); do echo s{i} $n; done; sleep 0.3; echo end\n"
        + (f"    dependsOn: [s{i - 1}]\n" if i % 3 else "")
        for i in range(9)
    )
    with running(tmp_path / "pushrod") as pushrod:
        project = pushrod.create_project("app")
        repository = Repository.create(tmp_path / "repository")
        for round_ in range(by_length(short=4, long=60) // KILLS_A_BUILD):
            build = pushrod.push_workflow(
                repository, project, f"name: many\n# {round_}\nsteps:\n{steps}"
            )
            for _ in range(KILLS_A_BUILD):
                pause = dice.uniform(0.1, 1.2)
                pushrod.api.request("GET", f"/api/projects/-/builds/{build['id']}?wait=1&seen=0")
                time.sleep(pause)
                kill_and_restart(pushrod, dice.choice(VICTIMS))
            assert_exact(pushrod, pushrod.api.wait_finished(build["id"]))


def assert_exact(pushrod: Pushrod, build: Mapping[str, Any]) -> None:
    assert build["state"] == "succeeded", build
    for i, step in enumerate(build["steps"]):
        expected = "".join(f"s{i} {n}\n" for n in range(1, 201)) + "end\n"
        assert pushrod.api.log(step["id"]) == expected.encode()


def test_a_push_whose_coordinator_dies_before_the_record_is_built_once(tmp_path: Path) -> None:
    with running(tmp_path / "pushrod") as pushrod:
        project = pushrod.create_project("app")
        repository = Repository.create(tmp_path / "repository")
        repository.write(".pushrod.yml", "steps: [{name: a, image: any, run: echo built}]")
        repository.commit("first")
        pushrod.coordinator.kill()
        # The ref moves and nobody takes notice, as in a crash right after git's own work.
        bare = pushrod.data / "repositories" / f"{project['id']}.git"
        repository.git("push", "-q", str(bare), "main")
        pushrod.restart_coordinator()
        pushrod.api.wait_for_builds(1)
        (build,) = pushrod.api.builds(project["id"])
        assert pushrod.api.wait_finished(build["id"])["state"] == "succeeded"
        pushrod.coordinator.kill()
        pushrod.restart_coordinator()
        assert len(pushrod.api.builds(project["id"])) == 1
