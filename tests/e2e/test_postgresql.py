"""A push is built to its end over PostgreSQL, whichever of the two ends in the middle."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.e2e.nursery import run_pushrod_for_text
from tests.e2e.processes import Repository, is_running, running, step_named
from tests.empty_database import kept_by
from tests.postgres_server import PostgresServer

WORKFLOW = """\
name: ci
steps:
  - name: count
    image: any
    run: |
      for i in $(seq 1 25); do echo "line $i"; sleep 0.2; done
      mkdir -p out; echo made > out/result
    outputPaths: [out/]
  - name: after
    image: any
    dependsOn: [count]
    run: cat out/result
"""
LOG = b"".join(b"line %d\n" % i for i in range(1, 26))


@pytest.mark.parametrize("victim", ["neither", "coordinator", "server"])
def test_a_push_is_built(victim: str, tmp_path: Path, postgres_server: PostgresServer) -> None:
    with kept_by(postgres_server), running(tmp_path / "pushrod", "host") as pushrod:
        assert not list(pushrod.data.glob("*.db*"))
        project = pushrod.create_project("app")
        repository = Repository.create(tmp_path / "repository")
        build = pushrod.push_workflow(repository, project, WORKFLOW)
        build = pushrod.api.wait(build["id"], is_running("count"))
        count, after = build["steps"]
        pushrod.api.wait_for_log(count["id"], b"line 3")
        if victim == "coordinator":
            pushrod.coordinator.kill()
            pushrod.restart_coordinator()
        elif victim == "server":
            postgres_server.stop()
            assert pushrod.api.request("GET", "/readyz")[0] == 503
            postgres_server.start()
        build = pushrod.api.wait_finished(build["id"])
        assert build["state"] == "succeeded", build
        assert pushrod.api.log(count["id"]) == LOG
        assert pushrod.api.log(after["id"]) == b"made\n"
        assert [step_named(build, name)["attempt"] for name in ("count", "after")] == [1, 1]


def test_a_coordinator_says_what_it_can_not_use_and_a_backup_what_to_do_instead(
    tmp_path: Path, postgres_server: PostgresServer
) -> None:
    config = tmp_path / "coordinator.toml"
    data = ("--data", str(tmp_path / "data"), "--config", str(config))
    config.write_text(f'database = "{postgres_server.url("nowhere")}"\n')
    said = run("coordinator", *data, "--listen", "127.0.0.1:0")
    assert said.returncode == 1
    assert 'database "nowhere" does not exist; check its user' in said.stderr
    refused = run("backup", str(tmp_path / "backup"), *data)
    assert refused.returncode == 1
    assert "pg_dump --format=custom" in refused.stderr
    assert not (tmp_path / "backup").exists()
    config.write_text('database = "postgresql://me:secret@db/pushrod"\n')
    said = run("coordinator", *data)
    assert "secret" not in said.stderr + said.stdout
    assert "without a password, which is read from database_password_file" in said.stderr


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return run_pushrod_for_text(arguments, os.environ)
