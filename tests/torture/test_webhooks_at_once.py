"""Many webhooks at once through a coordinator that does not lead; the leader may die meanwhile."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.processes import Api
from tests.postgres_server import PostgresServer
from tests.s3_server import S3Server
from tests.torture.clients import Ledger, Person, project_of
from tests.torture.crowd import crowd
from tests.torture.length import by_length
from tests.torture.work import Commits

pytestmark = pytest.mark.timeout(by_length(short=600, long=3600))
AT_ONCE = by_length(short=100, long=500)


@pytest.mark.parametrize("end", ["lives", "is killed"])
def test_webhooks_at_once_are_all_built_when_the_leader(
    end: str, tmp_path: Path, postgres_server: PostgresServer, s3_server: S3Server
) -> None:
    commits, ledger = Commits(tmp_path, tmp_path), Ledger()
    pushed = [commits.new("once") for _ in range(AT_ONCE)]
    last = pushed[-1][1]
    commits.repository.git("push", "-q", str(commits.bare), f"{last}:refs/heads/main")
    with crowd(tmp_path, postgres_server, s3_server, agents=()) as several:
        leader = several.leader()
        assert leader is not None
        follower = next(number for number in several.ports if number != leader)
        person = Person(
            several.url(follower),
            several.token,
            ledger,
            random.Random(),
            commits=commits,
            project={},
            stop=threading.Event(),
            making=threading.Lock(),
        )
        person.project = project_of(person, "app", commits)
        began = time.monotonic()
        with ThreadPoolExecutor(AT_ONCE) as threads:
            told = [threads.submit(person.tell, *one, "once") for one in pushed]
            if end == "is killed":
                while len(ledger.deliveries) < AT_ONCE // 4:
                    time.sleep(0.01)
                several.kill(leader)
            for each in told:
                each.result()
        took = time.monotonic() - began
        print(f"{AT_ONCE} webhooks: {took:.1f} s, {dict(ledger.counts)}")  # noqa: T201
        api = Api(several.url(follower), several.token)
        api.wait_for_builds(AT_ONCE)
        built = Counter(build["commitHash"] for build in api.builds(person.project["id"]))
        assert built == Counter(after for _, after in pushed)
