"""Agents that are cut off or stopped beyond their lease: no two attempts of a step at one time.

Each attempt writes the boot clock into a folder that all attempts share, many times a second, so
that what ran when is seen whatever anybody believes. The last attempt's log shows all of it.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.processes import Pushrod, Repository, is_running, running
from tests.torture.length import by_length
from tests.torture.links import Link

LEASE_SECONDS = 3
SETTINGS = f"lease_seconds = {LEASE_SECONDS}\n"
ENGINES = ["host", pytest.param("buildkit", marks=pytest.mark.engine)]
WITNESSED = """\
name: witnessed
steps:
  - name: tick
    image: {image}
    {caches}
    run: |
      echo begun
      n=0
      while [ "$PUSHROD_ATTEMPT" = 1 ] || [ $n -lt 20 ]; do
        read up idle < /proc/uptime
        echo "tick $PUSHROD_ATTEMPT $up" >> {witness}/$PUSHROD_ATTEMPT
        sleep 0.05; n=$((n+1))
      done
      cat {witness}/*; rm -f {witness}/*
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    pushrod: Pushrod
    project: dict[str, Any]
    repository: Repository
    workflow: str

    def begin(self) -> dict[str, Any]:
        """Push, and return the build once its step writes into its log."""
        build = self.pushrod.push_workflow(self.repository, self.project, self.workflow)
        build = self.pushrod.api.wait(build["id"], is_running("tick"))
        self.pushrod.api.wait_for_log(build["steps"][0]["id"], b"begun")
        return build

    def assert_no_overlap(self, build: dict[str, Any]) -> None:
        """The build ends well, and each attempt began after the one before had ended.

        Mostly by the second; where this machine is too busy for leases of three seconds, later.
        """
        ended = self.pushrod.api.wait_finished(build["id"])
        (step,) = ended["steps"]
        last = step["attempt"]
        assert (ended["state"], last >= 2) == ("succeeded", True), ended
        times: dict[int, list[float]] = {}
        for line in self.pushrod.api.log(step["id"]).decode().splitlines()[1:]:
            _, attempt, up = line.split()
            times.setdefault(int(attempt), []).append(float(up))
        ticked = sorted(times)
        assert (ticked[0], ticked[-1]) == (1, last)
        for earlier, later in pairwise(ticked):
            assert max(times[earlier]) < min(times[later])
        assert len(times[last]) >= 20


@pytest.fixture(params=ENGINES)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    """A coordinator with short leases, and no agent yet."""
    # Not tmp_path: the user that scripts run as does not reach it.
    witness = Path(tempfile.mkdtemp(prefix="pushrod-witness-"))
    witness.chmod(0o777)
    engine, image, caches = "host", "any", ""
    if request.param == "buildkit":
        parts = request.getfixturevalue("buildkit")
        engine, image, caches = parts.address, parts.image, "cacheDirs: [/witness]"
    try:
        with running(tmp_path / "pushrod", engine, agents=0, settings=SETTINGS) as pushrod:
            yield Bench(
                pushrod=pushrod,
                project=pushrod.create_project("app"),
                repository=Repository.create(tmp_path / "repository"),
                workflow=WITNESSED.format(
                    image=image, caches=caches, witness="/witness" if caches else witness
                ),
            )
    finally:
        shutil.rmtree(witness)


@contextmanager
def proxied(pushrod: Pushrod) -> Iterator[Link]:
    proxy = Link(int(pushrod.api.url.rpartition(":")[2]))
    try:
        yield proxy
    finally:
        proxy.close()


def repeat(once: Callable[[], None]) -> None:
    for _ in range(by_length(short=1, long=10)):
        once()


def test_an_agent_that_is_cut_off_does_not_run_beside_the_next(bench: Bench) -> None:
    pushrod = bench.pushrod
    with proxied(pushrod) as proxy:

        def once() -> None:
            pushrod.start_agent("cut", url=proxy.url)
            build = bench.begin()
            pushrod.start_agent("other")
            proxy.cut()
            bench.assert_no_overlap(build)
            proxy.mend()
            pushrod.agents["other"].kill()
            pushrod.agents["cut"].kill()

        repeat(once)


def test_an_agent_that_is_stopped_does_not_run_beside_the_next(bench: Bench) -> None:
    pushrod = bench.pushrod

    def once() -> None:
        pushrod.start_agent("stopped")
        build = bench.begin()
        pushrod.start_agent("other")
        os.kill(pushrod.agents["stopped"].pid, signal.SIGSTOP)
        bench.assert_no_overlap(build)
        os.kill(pushrod.agents["stopped"].pid, signal.SIGCONT)
        for name in ("other", "stopped"):
            pushrod.agents[name].kill()

    repeat(once)


def test_a_coordinator_that_is_stopped_beyond_the_lease_runs_nothing_twice_at_a_time(
    bench: Bench,
) -> None:
    pushrod = bench.pushrod
    for name in ("one", "two"):
        pushrod.start_agent(name)

    def once() -> None:
        build = bench.begin()
        os.kill(pushrod.coordinator.pid, signal.SIGSTOP)
        time.sleep(LEASE_SECONDS + 1)
        os.kill(pushrod.coordinator.pid, signal.SIGCONT)
        bench.assert_no_overlap(build)

    repeat(once)
