"""Kills, pauses and cuts of several coordinators, their agents and their database, under load."""

from __future__ import annotations

import random
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.processes import Api
from tests.postgres_server import PostgresServer, running_postgres_server
from tests.s3_server import S3Server, running_s3_server
from tests.torture.chaos import Chaos
from tests.torture.clients import Client, Ledger, Person, project_of
from tests.torture.crowd import Crowd, crowd
from tests.torture.length import kills, seed
from tests.torture.reckoning import UNNAMED, Reckoning, check_notes, failures
from tests.torture.work import Commits

KILLS = kills()
pytestmark = pytest.mark.timeout(600 + 15 * KILLS)
PEOPLE = 5


@pytest.fixture
def postgres() -> Iterator[PostgresServer]:
    """One of our own, since it is killed."""
    with running_postgres_server() as server:
        yield server


@pytest.fixture
def store(tmp_path: Path) -> Iterator[S3Server]:
    """The same, which remembers what it was given."""
    with running_s3_server(tmp_path / "store") as server:
        yield server


@pytest.fixture
def witness() -> Iterator[Path]:
    # Not tmp_path: the user that scripts run as does not reach it.
    folder = Path(tempfile.mkdtemp(prefix="pushrod-witness-"))
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


def test_all_that_was_accepted_is_built_whoever_dies(
    tmp_path: Path, postgres: PostgresServer, store: S3Server, witness: Path
) -> None:
    number = seed()
    print("seed", number)  # noqa: T201 - to repeat a failure
    dice = random.Random(number)
    ledger, stop, making = Ledger(), threading.Event(), threading.Lock()
    commits = Commits(tmp_path, witness)
    with crowd(tmp_path, postgres, store) as several:
        client = Client(several.address, several.token, ledger, dice)
        project, hosted = project_of(client, "app", commits), project_of(client, "hosted")
        people = [
            Person(
                several.address,
                several.token,
                ledger,
                random.Random(dice.random()),
                commits=commits,
                project=project,
                stop=stop,
                making=making,
                name=f"person{number}",
                push_url=f"{several.links['git'].url}/git/default/hosted.git",
            )
            for number in range(PEOPLE)
        ]
        people[0].deliver_one("plain")
        Api(several.address, several.token).wait_for_builds(1)  # now its workflow is known
        chaos = Chaos(several, dice)
        with ThreadPoolExecutor(PEOPLE) as threads:
            lives = [threads.submit(person.live) for person in people]
            try:
                chaos.rage(KILLS, stop)
            finally:
                stop.set()
            for life in lives:
                life.result()
        counts = _reckon(
            several,
            client,
            witness,
            chaos,
            {project["id"]: ledger.deliveries, hosted["id"]: ledger.pushes},
        )
        told = chaos.counts | ledger.counts | counts
        for what in sorted(told):
            print(f"{what}: {told[what]}")  # noqa: T201 - what was tried
        for note in failures(several.folder):
            print(note)  # noqa: T201
        print(f"longest without an answer: {ledger.longest_seconds:.1f} s")  # noqa: T201
        ended = sum(chaos.counts[f"killed: {what}"] for what in ("leader", "database", "store"))
        assert counts[UNNAMED] <= ended
        check_notes(several.folder)


def _reckon(
    several: Crowd,
    client: Client,
    witness: Path,
    chaos: Chaos,
    accepted: dict[str, dict[str, str]],
) -> Counter[str]:
    reckoning = Reckoning(several, client, client.ledger, witness, chaos.full, Counter())
    reckoning.check_made(accepted)
    reckoning.check_builds()
    reckoning.check_groups()
    for agent in several.agents.values():
        assert agent.stop() == 0
    reckoning.check_agents()
    reckoning.check_objects()
    return reckoning.counts
