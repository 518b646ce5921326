"""Coordinators that share a database and a store: any is reached, one leads, another takes over."""

from __future__ import annotations

import http.client
import json
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from coordinator.peers.words import CHANNEL
from coordinator.services.others import Word
from coordinator.storage.notices import heard
from coordinator.storage.postgresql import PostgresPlace
from tests.e2e.processes import PUSHROD, Repository
from tests.e2e.several import KEY, Several, several
from tests.postgres_server import PostgresServer
from tests.s3_server import S3Server

LINES = 50
WORKFLOW = f"""
name: talk
on: {{push: {{}}, manual: {{}}}}
steps:
  - name: talk
    image: any
    git: false
    run: for i in $(seq {LINES}); do echo line $i; sleep 0.2; done
"""
WHOLE = "".join(f"line {number}\n" for number in range(1, LINES + 1)).encode()


@pytest.fixture
def two(tmp_path: Path, postgres_server: PostgresServer, s3_server: S3Server) -> Iterator[Several]:
    with several(tmp_path, postgres_server, s3_server, range(1, 3)) as coordinators:
        yield coordinators


def _pushed(coordinators: Several, at: int, folder: Path) -> dict[str, Any]:
    """A build that talks for a while, pushed to the coordinator `at`."""
    api = coordinators.api(at)
    project = api.post("/api/projects", {"accountId": "default", "name": "app"})
    repository = Repository.create(folder / "repository")
    repository.write(".pushrod.yml", WORKFLOW)
    repository.commit("talk")
    url = f"{coordinators.url(at)}/git/default/app.git"
    pushed = repository.push(url, coordinators.token)
    assert pushed.returncode == 0, pushed.stderr
    build = api.build(api.builds(project["id"])[0]["id"])
    assert build["steps"], build["problems"]
    return build


@pytest.mark.parametrize("end", ["killed", "paused", "stopped"])
def test_a_build_goes_on_when_the_leader_is(end: str, two: Several, tmp_path: Path) -> None:
    """By the other coordinator, which holds what is asked meanwhile, and as the same attempt."""
    assert two.leader() == 1
    two.start_agent("one", two.url(2))
    build = _pushed(two, 2, tmp_path)
    step = build["steps"][0]["id"]
    two.api(2).wait_for_log(step, b"line 5\n")
    {"killed": two.kill, "paused": two.pause, "stopped": two.halt}[end](1)
    # Who followed is told nothing, or is cut off as by any end of a server; who asks now is held.
    assert _asked(two, build)["state"] == "running"
    assert two.leader() == 2
    if end == "paused":
        two.resume(1)
        # It takes the place of one that passes on, and answers nobody from what it knew.
        two.wait_for_note(1, "connections are passed on")
        assert two.api(1).build(build["id"])["state"] == "running"
    ended = two.api(2).wait_finished(build["id"])
    assert ended["state"] == "succeeded", ended
    assert ended["steps"][0]["attempt"] == 1
    assert two.api(2).log(step) == WHOLE


@pytest.mark.parametrize("end", ["killed", "paused", "stopped"])
def test_a_step_goes_on_when_the_coordinator_that_its_agent_is_at_is(
    end: str, two: Several, tmp_path: Path
) -> None:
    """The agent comes to another, here to what begins in its place: as the same attempt."""
    assert two.leader() == 1
    two.start_agent("one", two.url(2))
    build = _pushed(two, 1, tmp_path)
    step = build["steps"][0]["id"]
    two.api(1).wait_for_log(step, b"line 2\n")
    [(home,)] = two.rows("SELECT home FROM agents")
    assert (home,) not in two.rows("SELECT holder FROM coordinator_starts")
    {"killed": two.kill, "paused": two.pause, "stopped": two.halt}[end](2)
    if end == "paused":
        time.sleep(6)
        two.resume(2)
    else:
        two.start(2)
    ended = two.api(1).wait_finished(build["id"])
    assert ended["state"] == "succeeded", ended
    assert ended["steps"][0]["attempt"] == 1
    assert two.api(1).log(step) == WHOLE
    [(then,)] = two.rows("SELECT home FROM agents")
    assert (then == home) == (end == "paused")


def test_lines_are_taken_by_whichever_coordinator_they_reach(two: Several, tmp_path: Path) -> None:
    """And followed at the other one."""
    with _stored_by_others(two) as stored:
        two.start_agent("one", two.url(2))
        build = _pushed(two, 2, tmp_path)
        step = build["steps"][0]["id"]
        two.api(1).wait_for_log(step, b"line 5\n")
        assert two.api(1).build(build["id"])["state"] == "running"
        assert two.api(1).wait_finished(build["id"])["state"] == "succeeded"
        assert two.api(1).log(step) == WHOLE
        assert stored[f"{step}-1"] == len(WHOLE)


@contextmanager
def _stored_by_others(coordinators: Several) -> Iterator[Counter[str]]:
    """Bytes of logs, by attempt, that coordinators stored which do not lead: they tell the leader,
    and us."""
    stored, listening, ending = Counter[str](), threading.Event(), threading.Event()

    def listen() -> None:
        for text in heard(PostgresPlace(url=coordinators.database), CHANNEL, ending):
            if text is None:
                listening.set()
                continue
            for size, (word, *said) in json.loads(text)[1:]:
                if word == Word.LOG:
                    stored[said[0]] += size

    thread = threading.Thread(target=listen)
    thread.start()
    assert listening.wait(30)
    try:
        yield stored
    finally:
        ending.set()
        thread.join()


def _asked(coordinators: Several, build: dict[str, Any]) -> dict[str, Any]:
    """Of the other coordinator, once more where the former leader was still to answer."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return coordinators.api(2).build(build["id"])
        except (OSError, AssertionError, http.client.HTTPException):
            assert time.monotonic() < deadline


def test_the_lead_goes_to_and_fro_and_a_database_that_restarts_ends_nothing(
    two: Several, tmp_path: Path
) -> None:
    two.start_agent("one", two.url(2))
    build = _pushed(two, 1, tmp_path)
    step = build["steps"][0]["id"]
    two.api(1).wait_for_log(step, b"line 2\n")
    two.halt(1)
    assert _asked(two, build)["state"] == "running"
    two.start(1)
    two.postgres.stop()
    two.postgres.start()
    assert _asked(two, build)["state"] == "running"
    two.kill(2)
    two.start(2)
    while (ended := _asked(two, build))["state"] == "running":
        time.sleep(0.2)
    assert two.leader() is not None
    assert ended["state"] == "succeeded", ended
    assert two.api(1).log(step) == WHOLE


def test_one_with_another_key_or_none_is_refused(
    tmp_path: Path, postgres_server: PostgresServer, s3_server: S3Server
) -> None:
    with several(tmp_path, postgres_server, s3_server, range(1, 2)) as coordinators:
        key = coordinators.data(1) / KEY
        kept = key.read_bytes()
        key.unlink()  # so that the next is not given it
        with pytest.raises(AssertionError, match="copy the file `secret-key`"):
            coordinators.start(2)
        (coordinators.data(2) / KEY).write_bytes(b"x" * 32)
        with pytest.raises(AssertionError, match="another key than that of the other"):
            coordinators.start(2)
        (coordinators.data(2) / KEY).write_bytes(kept)
        coordinators.start(2)
        assert coordinators.api(2).get("/api/projects?accountId=default") == []


def test_a_file_of_the_platforms_gives_all_of_them_the_same_key(
    tmp_path: Path, postgres_server: PostgresServer, s3_server: S3Server
) -> None:
    """None has to start first, and nothing is copied."""
    given, others = tmp_path / "given", tmp_path / "others"
    for file in (given, others):
        subprocess.run([*PUSHROD, "key", "create", str(file)], check=True)
    asked = subprocess.run(
        [*PUSHROD, "key", "create", str(given)], capture_output=True, text=True, check=False
    )
    assert (asked.returncode, "is there already, and is not replaced" in asked.stderr) == (1, True)
    settings = f'secret_key_file = "{given}"\n'
    with several(tmp_path, postgres_server, s3_server, range(1, 3), settings) as coordinators:
        assert not any((coordinators.data(number) / KEY).exists() for number in (1, 2))
        project = coordinators.api(2).post("/api/projects", {"accountId": "default", "name": "app"})
        coordinators.halt(1)
        secret = f"/api/projects/{project['id']}/secrets"
        assert coordinators.api(2).request("PUT", f"{secret}/A", {"value": "x"})[0] < 300
        with pytest.raises(AssertionError, match="another key than that of the other coord"):
            coordinators.start(3, settings=f'secret_key_file = "{others}"\n')
        with pytest.raises(AssertionError, match="in `secret_key_file`, as theirs do"):
            coordinators.start(4)
