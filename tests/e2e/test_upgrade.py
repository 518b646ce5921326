"""An upgrade without downtime: coordinators of one version beside some of the next."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.e2e.processes import Api
from tests.e2e.several import Several, several
from tests.e2e.versions import NEXT_HEAD, WITH_PEERS, code_of, next_code, program, this_code
from tests.postgres_server import PostgresServer
from tests.s3_server import S3Server

LINES = 150
TALK = f"for i in $(seq {LINES}); do echo line $i; sleep 0.2; done"
WHOLE = "".join(f"line {number}\n" for number in range(1, LINES + 1)).encode()


@dataclass
class Builder:
    """Makes builds, one after the other, and asks again where it is told to."""

    api: Api
    project: str
    workflow: str
    accepted: list[str] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    def more(self, count: int = 2) -> None:
        """Until so many more have been accepted and have succeeded."""
        wanted = len(self.accepted) + count
        while len(self.accepted) < wanted:
            time.sleep(0.05)
        for build in self.accepted[wanted - count : wanted]:
            self.wait_for(build)

    def wait_for(self, build: str) -> None:
        while (state := self._ask("GET", f"/api/projects/-/builds/{build}")) != "succeeded":
            assert state in (None, "queued", "running"), state
            time.sleep(0.1)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        working = threading.Thread(target=self._work, daemon=True)
        working.start()
        try:
            yield
        finally:
            self._over.set()
            working.join()

    def _work(self) -> None:
        while not self._over.wait(0.3):
            self._ask("POST", f"/api/projects/{self.project}/builds")

    def _ask(self, method: str, path: str) -> str | None:
        """The build's state; None for what can be asked again."""
        body = {"workflowId": self.workflow} if method == "POST" else None
        try:
            found = self.api._json(method, path, body)
        except (OSError, AssertionError, http.client.HTTPException):
            return None
        if method == "POST":
            self.accepted.append(found["id"])
        return str(found["state"])


def _workflow(api: Api, project: str, name: str, script: str) -> str:
    step = {"name": name, "imageSlug": "any", "dependsOn": [], "runScript": script}
    steps = [step | {"cacheDirs": [], "outputPaths": []}]
    made = api.post(f"/api/projects/{project}/workflows", {"name": name, "steps": steps})
    return str(made["id"])


@pytest.mark.parametrize("version", [WITH_PEERS, "this one"])
def test_the_next_version_takes_over_from_the_old_and_never_gives_back(
    version: str, tmp_path: Path, postgres_server: PostgresServer, s3_server: S3Server
) -> None:
    """With a migration between them, an old one that stays, and an agent that works all the time.

    Of the old version the code is taken out of the history.
    """
    code = (
        code_of(version, tmp_path / "old") if version == WITH_PEERS else this_code(tmp_path / "old")
    )
    if code is None:
        pytest.skip(f"this clone has no commit {version}: this version plays the old one alone")
    old, new = program(code), program(next_code(tmp_path / "new"))
    with several(tmp_path, postgres_server, s3_server, range(0)) as coordinators:
        coordinators.database = postgres_server.new_database(migrated=False).url
        _upgrade(coordinators, old, new)


def _upgrade(coordinators: Several, old: Sequence[str], new: Sequence[str]) -> None:
    for number in (1, 2):
        coordinators.start(number, program=old)
    coordinators.wait_for_leader(1)
    assert coordinators.rows("SELECT version_num FROM alembic_version") < [(NEXT_HEAD,)]

    coordinators.start(3, program=new)
    coordinators.wait_for_note(3, "connections are passed on")
    coordinators.start_agent("one", coordinators.url(3), slots=4)
    api = coordinators.api(3)
    project = api.post("/api/projects", {"accountId": "default", "name": "app"})["id"]
    talk = api.post(
        f"/api/projects/{project}/builds", {"workflowId": _workflow(api, project, "talk", TALK)}
    )
    builder = Builder(api, project, _workflow(api, project, "quick", "echo quick"))
    with builder.at_work():
        builder.more()
        assert coordinators.leader() == 1

        # The old leader stops. The other old one is paused meanwhile, or it might be quicker.
        coordinators.pause(2)
        coordinators.halt(1)
        coordinators.wait_for_leader(3)
        coordinators.resume(2)
        builder.more()
        assert coordinators.rows("SELECT version_num FROM alembic_version") == [(NEXT_HEAD,)]
        assert coordinators.api(2).build(talk["id"])["state"] == "running"

        # With the new one gone, the old one does not take what it does not know.
        coordinators.kill(3)
        coordinators.wait_for_note(2, "is of a newer pushrod")
        assert coordinators.leader() is None
        coordinators.start(3, program=new)
        coordinators.wait_for_leader(3)
        builder.more()
        coordinators.start(1, program=new)
        builder.more()
    for build in builder.accepted:
        builder.wait_for(build)
    ended = api.wait_finished(talk["id"])
    assert (ended["state"], ended["steps"][0]["attempt"]) == ("succeeded", 1)
    assert api.log(ended["steps"][0]["id"]) == WHOLE
    assert coordinators.rows("SELECT DISTINCT added FROM builds") == [("next",)]
    assert coordinators.running[2].pid, "the old one is still there"
