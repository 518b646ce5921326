"""A backup under load, restored elsewhere, with real processes and an agent that lives on."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from coordinator.backup.folder import BackupFolder
from tests.e2e.nursery import run_pushrod_for_text
from tests.e2e.processes import Process, Pushrod, Repository, is_running, running, step_named

WORKFLOW = """\
name: ci
on: {push: {}}
steps:
  - name: make
    image: any
    run: |
      echo "build of $PUSHROD_SHA"
      seq 1 2000
      mkdir -p dist; head -c 5000 /dev/urandom > dist/random
    outputPaths: [dist/]
"""
LONG = """\
name: ci
on: {push: {}}
steps:
  - name: long
    image: any
    run: |
      echo "begun once more"
      if [ "$PUSHROD_ATTEMPT" = 1 ]; then sleep 600; fi
"""
BUILDS_BEFORE = 6


def told_of(pushrod: Pushrod, build: dict[str, Any]) -> dict[str, Any]:
    """All that a build left, its log and artifacts by digest."""
    found: dict[str, Any] = {"state": build["state"], "number": build["number"]}
    for step in build["steps"]:
        log = hashlib.sha256(pushrod.api.log(step["id"])).hexdigest()
        artifacts = {}
        for artifact in pushrod.api.get(f"/api/steps/{step['id']}/artifacts"):
            path = artifact["url"].removeprefix(pushrod.api.url)
            status, body, _ = pushrod.api.request("GET", path)
            assert status == 200
            assert hashlib.sha256(body).hexdigest() == artifact["sha256"]
            artifacts[artifact["name"]] = artifact["sha256"]
        found[step["name"]] = (step["status"], log, artifacts)
    return found


def pushed(pushrod: Pushrod, repository: Repository, project: dict[str, Any], text: str) -> None:
    repository.write("file", text)
    repository.commit(text)
    done = repository.push(project["pushUrl"], pushrod.api.token)
    assert done.returncode == 0, done.stderr


def cli(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return run_pushrod_for_text([*map(str, arguments)], os.environ, seconds=180)


class Load:
    """Pushes until it is stopped, each of which makes a build."""

    def __init__(self, pushrod: Pushrod, repository: Repository, project: dict[str, Any]) -> None:
        self._of = pushrod, repository, project
        self._stop = threading.Event()
        self.pushes = 0
        self.first = threading.Event()
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                pushed(*self._of, f"load {self.pushes}")
                self.pushes += 1
                self.first.set()
        except BaseException as error:
            self.failure = error
            self.first.set()

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        assert self.failure is None, self.failure


@pytest.mark.timeout(600)
def test_a_backup_under_load_restored_elsewhere_has_all_of_before(tmp_path: Path) -> None:
    with running(tmp_path / "old") as pushrod:
        project, waits = pushrod.create_project(), pushrod.create_project("waits")
        repository = Repository.create(tmp_path / "repository")
        pushrod.push_workflow(repository, project, WORKFLOW)
        for number in range(BUILDS_BEFORE - 1):
            pushed(pushrod, repository, project, f"before {number}")
        before = [
            pushrod.api.wait_finished(build["id"]) for build in pushrod.api.builds(project["id"])
        ]
        assert len(before) == BUILDS_BEFORE
        told = {build["id"]: told_of(pushrod, build) for build in before}
        other = Repository.create(tmp_path / "other")
        held = pushrod.push_workflow(other, waits, LONG)
        held = pushrod.api.wait(held["id"], is_running("long"))
        pushrod.api.wait_for_log(step_named(held, "long")["id"], b"begun once more")

        backups = tmp_path / "backups"
        with Load(pushrod, repository, project) as load:
            load.first.wait(60)
            pushes = load.pushes
            done = cli("backup", backups, "--data", pushrod.data, "--json")
            assert done.returncode == 0, done.stderr
            assert json.loads(done.stdout)["faults"] == []
            load.first.clear()
            load.first.wait(60)
            assert load.pushes > pushes
        assert cli("backup", backups, "--check").returncode == 0
        assert len(BackupFolder.at(backups).names()) == 1

        # The old one's machine is lost; its agent lives on, and knows the address alone.
        pushrod.coordinator.kill()
        restored = cli("restore", backups, "--data", tmp_path / "new" / "coordinator")
        assert restored.returncode == 0, restored.stderr
        new = Pushrod(tmp_path / "new", agents=pushrod.agents)
        new.start_coordinator(pushrod.api.url.removeprefix("http://"))
        try:
            assert_all_of_before(new, told)
            assert_the_agent_goes_on(new, pushrod.agents["agent1"], held)
            repository.write("file", "after")
            repository.commit("after")
            last = repository.push(project["pushUrl"], new.api.token, "--force", "HEAD:main")
            assert last.returncode == 0, last.stderr
            for build in new.api.builds(project["id"]):
                assert new.api.wait_finished(build["id"])["state"] == "succeeded"
        except BaseException:
            print(new.notes())  # noqa: T201 - shown by pytest beside the failure
            raise
        finally:
            new.coordinator.kill()


def assert_all_of_before(new: Pushrod, told: dict[str, Any]) -> None:
    for build_id, before in told.items():
        assert told_of(new, new.api.build(build_id)) == before


def assert_the_agent_goes_on(new: Pushrod, agent: Process, held: dict[str, Any]) -> None:
    """Its old script was ended, and the same step has run anew, to its end."""
    build = new.api.wait_finished(held["id"])
    step = step_named(build, "long")
    assert (build["state"], step["attempt"], step["agent"]) == ("succeeded", 2, "agent1")
    assert b"begun once more" in new.api.log(step["id"], attempt=1)
    assert "earlier generation" in agent.log.read_text()
