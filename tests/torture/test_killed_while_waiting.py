"""kill -9 of the coordinator while steps wait for something that only their rows know of."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.processes import Pushrod, Repository, is_running, running, step_named
from tests.torture.length import by_length


@pytest.fixture
def pushrod(tmp_path: Path) -> Iterator[Pushrod]:
    with running(tmp_path / "pushrod") as pushrod:
        yield pushrod


@pytest.fixture
def push(pushrod: Pushrod, tmp_path: Path) -> Callable[[str], dict[str, Any]]:
    project = pushrod.create_project("app")
    repository = Repository.create(tmp_path / "repository")
    return lambda workflow: pushrod.push_workflow(repository, project, workflow)


def is_waiting(name: str, words: str) -> Callable[[dict[str, Any]], bool]:
    return lambda build: words in step_named(build, name).get("waitsFor", "")


def killed_and_back(pushrod: Pushrod, away_seconds: float = 0.0) -> None:
    pushrod.coordinator.kill()
    time.sleep(away_seconds)
    pushrod.restart_coordinator()


GATE = """
steps:
  - {name: release, approve: {expires: %s}}
  - {name: after, image: any, dependsOn: [release], run: echo done}
"""


def test_a_gate_asks_on_and_is_answered_once(
    pushrod: Pushrod, push: Callable[[str], dict[str, Any]]
) -> None:
    build = push(GATE % "1h")
    step = step_named(pushrod.api.build(build["id"]), "release")
    killed_and_back(pushrod)
    asked = step_named(pushrod.api.build(build["id"]), "release")
    assert asked["approval"] == step["approval"], "also until when"
    pushrod.api.post(f"/api/steps/{step['id']}/approve", {})
    killed_and_back(pushrod)
    build = pushrod.api.wait_finished(build["id"])
    assert build["state"] == "succeeded", build
    assert step_named(build, "release")["reason"] == "approved by admin"
    status, _, _ = pushrod.api.request("POST", f"/api/steps/{step['id']}/reject", {})
    assert status == 409


def test_a_gate_whose_time_is_over_meanwhile_fails(
    pushrod: Pushrod, push: Callable[[str], dict[str, Any]]
) -> None:
    build = push(GATE % "4s")
    killed_and_back(pushrod, away_seconds=4)
    build = pushrod.api.wait_finished(build["id"])
    assert build["state"] == "failed"
    assert step_named(build, "release")["reason"].startswith("no answer within 4s")


TURNS = """
steps:
  - {name: first, image: any, concurrency: gpu, run: sleep 6}
  - {name: second, image: any, concurrency: gpu, run: echo done}
"""


def test_a_place_is_kept_and_who_is_in_line_gets_it(
    pushrod: Pushrod, push: Callable[[str], dict[str, Any]]
) -> None:
    build = push(TURNS)
    build = pushrod.api.wait(build["id"], is_running("first"))
    killed_and_back(pushrod)
    assert is_waiting("second", "taken by first of app#1")(pushrod.api.build(build["id"]))
    killed_and_back(pushrod, away_seconds=6)  # meanwhile the place becomes free
    build = pushrod.api.wait_finished(build["id"])
    assert build["state"] == "succeeded", build
    assert [step["attempt"] for step in build["steps"]] == [1, 1]


FAILS_ONCE = """
steps:
  - name: a
    image: any
    retries: {max: 1, delay: %s}
    run: test "$PUSHROD_ATTEMPT" -gt 1
"""


@pytest.mark.parametrize(("delay", "away_seconds"), [("3s", 4.0), ("6s", 0.0)])
def test_a_delay_goes_on_or_is_over(
    pushrod: Pushrod, push: Callable[[str], dict[str, Any]], delay: str, away_seconds: float
) -> None:
    build = push(FAILS_ONCE % delay)
    build = pushrod.api.wait(build["id"], is_waiting("a", "tried again in"))
    at = build["steps"][0]["retryAt"]
    killed_and_back(pushrod, away_seconds)
    found = pushrod.api.build(build["id"])["steps"][0]
    assert found.get("retryAt", at) == at
    build = pushrod.api.wait_finished(build["id"])
    assert build["state"] == "succeeded", build
    assert build["steps"][0]["attempt"] == 2


def test_a_delayed_step_is_cancelled_after_it(
    pushrod: Pushrod, push: Callable[[str], dict[str, Any]]
) -> None:
    build = push(FAILS_ONCE % "1h")
    build = pushrod.api.wait(build["id"], is_waiting("a", "tried again in"))
    killed_and_back(pushrod)
    assert is_waiting("a", "tried again in")(pushrod.api.build(build["id"]))
    pushrod.api.post(f"/api/projects/-/builds/{build['id']}/cancel", {})
    assert pushrod.api.wait_finished(build["id"], seconds=5)["state"] == "cancelled"


def test_all_of_them_outlive_many_kills_at_random_moments(
    pushrod: Pushrod, push: Callable[[str], dict[str, Any]]
) -> None:
    seed = random.randrange(10**6)
    print("seed", seed)  # noqa: T201 - to repeat a failure
    dice = random.Random(seed)
    steps = "".join(
        f"  - name: s{i}\n    image: any\n    concurrency: {{group: gpu, limit: 2}}\n"
        "    retries: {max: 5, delay: 1s}\n"
        '    run: test "$PUSHROD_ATTEMPT" -gt 1 && sleep 0.3\n'
        for i in range(6)
    )
    names = ", ".join(f"s{i}" for i in range(6))
    gate = f"  - {{name: release, dependsOn: [{names}], approve: {{}}}}\n"
    for round_ in range(by_length(short=1, long=15)):
        build = push(f"# {round_}\nsteps:\n{steps}{gate}")
        for _ in range(4):
            time.sleep(dice.uniform(0.1, 1.5))
            killed_and_back(pushrod)
        build = pushrod.api.wait(build["id"], lambda found: "waitsFor" in found)
        killed_and_back(pushrod)
        pushrod.api.post(f"/api/steps/{step_named(build, 'release')['id']}/approve", {})
        killed_and_back(pushrod)
        build = pushrod.api.wait_finished(build["id"])
        assert build["state"] == "succeeded", build
        assert all(step["attempt"] == 2 for step in build["steps"][:-1]), "none was lost"
