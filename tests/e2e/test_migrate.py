"""`pushrod migrate`, as an operator runs it, with agents that go on."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from pathlib import Path

import pytest

from coordinator.storage.migrate import migrate_apart
from tests.e2e.nursery import run_pushrod_for_text
from tests.e2e.processes import Repository, is_running, running, step_named
from tests.e2e.test_backup import told_of
from tests.ports import free_port
from tests.postgres_server import PASSWORD, PostgresServer
from tests.s3_server import BUCKET, S3Server, write_credentials

WORKFLOW = """\
name: ci
steps:
  - name: make
    image: any
    secrets: [TOKEN]
    run: |
      seq 1 20000
      mkdir -p out; head -c 6000000 /dev/urandom > out/random
      test "$TOKEN" = hidden-word
    outputPaths: [out/]
"""
LONG = """\
name: ci
steps:
  - name: long
    image: any
    run: |
      echo begun
      until (: > /dev/tcp/127.0.0.1/{port}) 2>/dev/null; do sleep 0.2; done
      echo ended
  - {{name: after, image: any, dependsOn: [long], run: echo after}}
"""


def cli(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PUSHROD_")}
    return run_pushrod_for_text([*map(str, arguments)], environment)


@pytest.mark.timeout(300)
def test_an_installation_is_moved_and_goes_on(
    tmp_path: Path, postgres_server: PostgresServer, s3_server: S3Server
) -> None:
    target = postgres_server.new_database(migrated=False)
    password, credentials = tmp_path / "password", tmp_path / "credentials"
    password.write_text(PASSWORD + "\n")
    write_credentials(credentials)
    url = f"postgresql://pushrod@127.0.0.1:{postgres_server.port}/{target.name}"
    new = {
        "database": url,
        "database_password_file": str(password),
        "objects": f"s3://{BUCKET}/{tmp_path.name}",
        "objects_endpoint": s3_server.endpoint,
        "objects_region": "us-east-1",
        "objects_credentials_file": str(credentials),
    }
    given = [
        *("--to", url, "--password-file", password, "--objects", new["objects"]),
        *("--objects-endpoint", new["objects_endpoint"], "--objects-region", "us-east-1"),
        *("--objects-credentials-file", credentials),
    ]
    # However long the move takes on a machine that has much to do.
    patient = "lease_seconds = 600\n"
    with running(tmp_path / "pushrod", settings=patient) as pushrod:
        data, port = ("--data", pushrod.data), free_port()
        project, waits = pushrod.create_project(), pushrod.create_project("waits")
        pushrod.command("secret", "set", "app", "TOKEN", given="hidden-word\n")
        repository = Repository.create(tmp_path / "repository")
        build = pushrod.push_workflow(repository, project, WORKFLOW)
        told = told_of(pushrod, pushrod.api.wait_finished(build["id"]))
        assert told["state"] == "succeeded"
        other = Repository.create(tmp_path / "other")
        held = pushrod.push_workflow(other, waits, LONG.format(port=port))
        held = pushrod.api.wait(held["id"], is_running("long"))
        pushrod.api.wait_for_log(step_named(held, "long")["id"], b"begun")

        refused = cli("migrate", *data, *given)
        assert refused.returncode == 1
        assert "another pushrod works on" in refused.stderr
        pushrod.coordinator.stop()
        done = cli("migrate", *data, *given)
        assert done.returncode == 0, done.stderr
        assert f"moved to {url}" in done.stderr
        assert "all equal" in done.stderr
        for name, value in new.items():
            assert f'{name} = "{value}"' in done.stderr
        assert "admin-token, moved (the key opens the secrets)" in done.stderr
        assert PASSWORD not in done.stderr + done.stdout
        checked = cli("migrate", "--check", "--json", *data, *given)
        assert checked.returncode == 0, checked.stderr
        assert json.loads(checked.stdout)["differingTables"] == []

        for command in (
            ("coordinator", "--listen", "127.0.0.1:0", *data),
            ("backup", tmp_path / "backup", *data),
        ):
            old = cli(*command)
            assert old.returncode == 1
            assert f'write database = "{url}"' in old.stderr

        changed = [f"{name} = {json.dumps(text)}\n" for name, text in new.items()]
        pushrod.settings = patient + "".join(changed)
        pushrod.restart_coordinator()
        assert told_of(pushrod, pushrod.api.build(build["id"])) == told
        with socket.create_server(("127.0.0.1", port)):
            held = pushrod.api.wait_finished(held["id"])
        assert held["state"] == "succeeded"
        assert [step["attempt"] for step in held["steps"]] == [1, 1]
        assert pushrod.api.log(step_named(held, "long")["id"]) == b"begun\nended\n"
        repository.write("file", "after")
        build = pushrod.push_workflow(repository, project, WORKFLOW)
        assert pushrod.api.wait_finished(build["id"])["state"] == "succeeded"
    postgres_server.drop(target)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "name where to move: --to postgresql://"),
        (("--to", "mysql://x/y"), "write postgresql://USER@HOST/NAME without a password"),
        (("--to", "postgresql://me:word@x/y"), "without a password"),
        (("--objects", "ftp://x"), "write a folder, or s3://BUCKET/PREFIX"),
        (("--password-file", "x"), "--password-file is given without --to"),
        (("--objects-region", "x"), "--objects-region is given without --objects"),
        (("--objects", "{data}/objects"), "the installation's objects is objects already"),
        (("--to", "postgresql://me@127.0.0.1:1/y"), "no PostgreSQL answers at"),
        (("--objects", "{data}-new"), "there is no installation in"),
    ],
)
def test_what_can_not_be_moved_to_is_told(
    tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    if "no installation" not in words:
        (data / "secret-key").write_bytes(b"k" * 32)
    given = [one.format(data=data) for one in arguments]
    refused = cli("migrate", "--data", data, *given)
    assert refused.returncode == 1, refused.stderr
    assert words in " ".join(refused.stderr.split())
    assert ":word@" not in refused.stderr


def test_its_end_is_no_abort_where_there_is_one_processor(tmp_path: Path) -> None:
    """A thread of the store's library that is slower than the end of the program."""
    data = tmp_path / "data"
    (data / "objects" / "logs").mkdir(parents=True)
    (data / "secret-key").write_bytes(b"k" * 32)
    (data / "objects" / "logs" / "one").write_bytes(b"text")
    migrate_apart(data / "pushrod.db")
    one, all_of_them = {min(os.sched_getaffinity(0))}, os.sched_getaffinity(0)
    os.sched_setaffinity(0, one)
    try:
        done = [
            cli("migrate", "--data", data, "--objects", tmp_path / f"to{number}", "--check")
            for number in range(4)
        ]
    finally:
        os.sched_setaffinity(0, all_of_them)
    # Nothing has been moved there, so that it differs.
    assert [one.returncode for one in done] == [1] * 4, done[0].stderr
    assert all("1 differ: logs/one" in one.stderr for one in done), done[0].stderr
