"""1,000 agents that have nothing to do: what their held polls cost, and their return all at once.

Over SQLite, over PostgreSQL, and through a coordinator that passes on to the one that leads.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.benchmarks.memory import resident_mb
from tests.benchmarks.samples import Row
from tests.benchmarks.waiting_steps import processor_seconds
from tests.e2e.processes import Api, Pushrod
from tests.e2e.several import several
from tests.postgres_server import running_postgres_server
from tests.s3_server import running_s3_server

AGENTS = 1_000
SETTLE_SECONDS = 60.0
"""More than a poll is held, so that what comes then are second polls."""
MEASURED_SECONDS = 60.0
MOST_REQUESTS, MOST_MB = 25.0, 150.0
PATIENCE_SECONDS = 300.0


@dataclass(slots=True)
class Place:
    """Coordinators that run, of which agents ask one."""

    api: Api
    token_file: Path
    processes: Callable[[], Mapping[str, int]]
    """Their ids, by what each of them is. The first is the one that leads."""
    restart: Callable[[], None]


def measure(folder: Path) -> list[Row]:
    folder.mkdir(parents=True)
    rows = []
    with running_postgres_server() as postgres:
        for what, place in (
            ("SQLite", _alone(folder / "sqlite", "")),
            (
                "PostgreSQL",
                _alone(folder / "postgresql", f'database = "{postgres.new_database().url}"\n'),
            ),
        ):
            with place as running:
                rows += _measured(what, running)
        folder = folder / "two"
        folder.mkdir()
        with running_s3_server() as store, several(folder, postgres, store, range(1, 3)) as two:
            token = folder / "token"
            token.write_text(two.token)
            running = Place(
                api=two.api(2),
                token_file=token,
                processes=lambda: {"leader": two.running[1].pid, "other": two.running[2].pid},
                restart=lambda: _lead_again(two),
            )
            rows += _measured("through one that does not lead", running)
    return rows


@contextmanager
def _alone(folder: Path, settings: str) -> Iterator[Place]:
    folder.mkdir()
    pushrod = Pushrod(folder, settings=settings)
    pushrod.start_coordinator()

    def restart() -> None:
        pushrod.coordinator.kill()
        pushrod.restart_coordinator()

    try:
        yield Place(
            api=pushrod.api,
            token_file=pushrod.data / "admin-token",
            processes=lambda: {"coordinator": pushrod.coordinator.pid},
            restart=restart,
        )
    finally:
        pushrod.stop()


def _lead_again(two: Any) -> None:
    """The leader dies; the other, which all agents ask, leads. Then there are two again."""
    two.kill(1)
    two.start(1)
    two.running = {1: two.running[2], 2: two.running[1]}


@dataclass(slots=True)
class Agents:
    """The process of the agents, and what it said each second: when, and what."""

    process: subprocess.Popen[str]
    said: list[tuple[float, dict[str, int]]] = field(default_factory=list)

    def listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append((time.monotonic(), json.loads(line)))

    def wait_until_all_are_held(self) -> float:
        """When that was: twice in a row, since a poll that is refused is gone by then."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        since = len(self.said)
        while time.monotonic() < deadline:
            news = [(at, one["held"]) for at, one in self.said[since:]]
            for (at, held), (_, still) in pairwise(news):
                if held == still == AGENTS:
                    return at
            time.sleep(0.2)
        raise AssertionError(f"not all agents wait: {self.said[-1:]}")

    def between(self, since: float, until: float) -> list[dict[str, int]]:
        return [one for at, one in self.said if since <= at <= until]

    def most_in_a_second(self, since: float, until: float) -> int:
        counted = [one["requests"] for one in self.between(since, until)]
        return max(b - a for a, b in pairwise(counted))


@contextmanager
def _agents(place: Place) -> Iterator[Agents]:
    command = [sys.executable, "-m", "tests.benchmarks.idle_agents_process"]
    arguments = [place.api.url, str(place.token_file), str(AGENTS)]
    with subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, text=True) as process:
        agents = Agents(process)
        listening = threading.Thread(target=agents.listen, daemon=True)
        listening.start()
        try:
            yield agents
        finally:
            process.kill()
            listening.join()


def _measured(what: str, place: Place) -> list[Row]:
    before = _resident(place)
    with _agents(place) as agents:
        agents.wait_until_all_are_held()
        time.sleep(SETTLE_SECONDS)
        rows = [_idle(what, place, agents, before)]
        began = time.monotonic()
        place.restart()
        ready, worked = time.monotonic(), _processor(place)
        back = agents.wait_until_all_are_held()
        rows.append(_back(what, place, agents, (began, ready, back), worked))
    return rows


def _idle(what: str, place: Place, agents: Agents, before: Mapping[str, float]) -> Row:
    counted, worked, since = _counted(place.api), _processor(place), time.monotonic()
    time.sleep(MEASURED_SECONDS)
    until, resident = time.monotonic(), _resident(place)
    seconds = until - since
    said = agents.between(since, until)
    requests = (said[-1]["requests"] - said[0]["requests"]) / (len(said) - 1)
    told = [
        f"{kind} {(count - counted[kind]) / seconds:.1f}/s"
        for kind, count in _counted(place.api).items()
    ]
    told += [
        f"{name} {before[name]:.0f} → {megabytes:.0f} MB, "
        f"{(_processor(place)[name] - worked[name]) * 60 / seconds:.1f} s of processor a minute"
        for name, megabytes in resident.items()
    ]
    most = max(resident.values())
    over = requests > MOST_REQUESTS or most > MOST_MB
    measured = f"{requests:.1f} requests/s; {', '.join(told)}"
    return Row(
        what=f"{AGENTS:,} idle agents: {what}",
        measured=measured,
        to_hold=f"≤ {MOST_REQUESTS:.0f} requests/s, {MOST_MB:.0f} MB",
        exceeded=f"{AGENTS} idle agents, {what}: {measured}" if over else "",
    )


def _back(
    what: str,
    place: Place,
    agents: Agents,
    times: tuple[float, float, float],
    worked: Mapping[str, float],
) -> Row:
    """`times`: when it was killed, ready again, and when all were there."""
    began, ready, back = times
    used = sum(_processor(place).values()) - sum(worked.values())
    asked = agents.between(began, back)
    time.sleep(2 * SETTLE_SECONDS)
    later = agents.most_in_a_second(back + SETTLE_SECONDS, back + 2 * SETTLE_SECONDS)
    return Row(
        what=f"all at once after a kill: {what}",
        measured=f"ready after {ready - began:.1f} s, all wait again {max(back - ready, 0):.1f} s "
        f"later, by {asked[-1]['requests'] - asked[0]['requests']} requests, "
        f"{agents.most_in_a_second(ready, back + 2)} in a second at most, {used:.1f} s of "
        f"processor; a minute later at most {later} in a second",
    )


def _resident(place: Place) -> dict[str, float]:
    return {name: resident_mb(pid) for name, pid in place.processes().items()}


def _processor(place: Place) -> dict[str, float]:
    return {name: processor_seconds(pid) for name, pid in place.processes().items()}


def _counted(api: Api) -> dict[str, int]:
    """Transactions of the database since the coordinator's start."""
    status, text, _ = api.request("GET", "/metrics")
    assert status == 200, text
    found = {}
    for kind in ("read", "commit"):
        line = f'pushrod_database_seconds_count{{kind="{kind}"}} '
        [value] = [one for one in text.decode().splitlines() if one.startswith(line)]
        found[f"{kind}s"] = int(float(value.removeprefix(line)))
    return found
