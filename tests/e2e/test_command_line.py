"""The commands, as processes of their own, against a real coordinator."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.nursery import run_pushrod
from tests.e2e.processes import READY, Api, Process, Pushrod, Repository, running

WORKFLOW = """\
name: ci
steps:
  - {name: one, image: any, run: "printf 'first\\\\nno end'"}
  - {name: two, image: any, dependsOn: [one], run: "echo second >&2; exit 4"}
"""


@pytest.fixture(scope="module")
def pushrod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pushrod]:
    with running(tmp_path_factory.mktemp("pushrod")) as pushrod:
        yield pushrod


def command(pushrod: Pushrod, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    environment = {
        **os.environ,
        "PUSHROD_URL": pushrod.api.url,
        "PUSHROD_TOKEN": pushrod.api.token,
    }
    return run_pushrod(arguments, environment)


def answer(pushrod: Pushrod, *arguments: str) -> Any:
    """What the command prints as JSON; stdout must hold nothing else."""
    ended = command(pushrod, *arguments, "--json")
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


@pytest.fixture(scope="module")
def build(pushrod: Pushrod, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A finished build, number 1 of the project `shown`."""
    project = answer(pushrod, "project", "create", "shown")
    repository = Repository.create(tmp_path_factory.mktemp("work") / "repository")
    queued = pushrod.push_workflow(repository, project, WORKFLOW)
    return pushrod.api.wait_finished(queued["id"])


def test_a_project_is_created_and_listed(pushrod: Pushrod) -> None:
    created = answer(pushrod, "project", "create", "My Project", "--account", "acme")
    assert created["pushUrl"] == f"{pushrod.api.url}/git/acme/my-project.git"
    assert created["webhookSecret"]
    (listed,) = answer(pushrod, "project", "list", "--account", "acme")
    assert listed["id"] == created["id"]


def test_a_project_is_renamed_archived_and_deleted(pushrod: Pushrod, tmp_path: Path) -> None:
    project = answer(pushrod, "project", "create", "short lived")
    renamed = answer(pushrod, "project", "set", "short-lived", "--name", "Long Lived")
    assert renamed["pushUrl"] == f"{pushrod.api.url}/git/default/long-lived.git"
    repository = Repository.create(tmp_path / "repository")
    queued = pushrod.push_workflow(repository, project, WORKFLOW)  # to the old address
    assert command(pushrod, "project", "archive", "long-lived").returncode == 0
    refused = command(pushrod, "build", "create", "long-lived")
    assert (refused.returncode, b"unarchive default/long-lived" in refused.stderr) == (1, True)
    assert command(pushrod, "project", "unarchive", "long-lived").returncode == 0
    secret = command(pushrod, "project", "webhook-secret", "long-lived").stdout.decode().strip()
    assert len(secret) == 64
    assert secret != project["webhookSecret"]
    pushrod.api.wait_finished(queued["id"])
    for unsure in ((), ("--yes", "other")):
        kept = command(pushrod, "project", "delete", "long-lived", *unsure)
        assert (kept.returncode, b"--yes long-lived" in kept.stderr) == (1, True)
    deleted = command(pushrod, "project", "delete", "long-lived", "--yes", "long-lived")
    assert deleted.returncode == 0, deleted.stderr
    assert "Long Lived" not in [one["name"] for one in answer(pushrod, "project", "list")]


def test_a_project_moves_to_a_forge_and_back(pushrod: Pushrod) -> None:
    answer(pushrod, "project", "create", "moving")
    url = "https://github.com/example/moving.git"
    moved = answer(pushrod, "project", "set", "moving", "--repo", url)
    assert moved["repoUrl"] == url
    assert "repoUrl" not in answer(pushrod, "project", "set", "moving", "--no-repo")
    nothing = command(pushrod, "project", "set", "moving")
    assert (nothing.returncode, b"--no-repo" in nothing.stderr) == (1, True)
    both = command(pushrod, "project", "set", "moving", "--repo", url, "--no-repo")
    assert (both.returncode, b"not both" in both.stderr) == (1, True)


def test_git_pushes_with_the_credential_helper(pushrod: Pushrod, tmp_path: Path) -> None:
    project = answer(pushrod, "project", "create", "helped")
    repository = Repository.create(tmp_path / "repository")
    repository.write(".pushrod.yml", WORKFLOW)
    repository.commit("first")
    token_file = pushrod.data / "admin-token"
    helper = f"!{sys.executable} -m pushrod git-credential --token-file {token_file}"
    repository.git("config", "credential.helper", helper)
    repository.git("push", project["pushUrl"], "main", PUSHROD_URL=pushrod.api.url)
    assert len(answer(pushrod, "build", "list", "helped")) == 1


def test_a_build_is_found_by_its_number_and_by_its_id(
    pushrod: Pushrod, build: dict[str, Any]
) -> None:
    shown = answer(pushrod, "build", "show", "shown#1")
    assert shown["id"] == build["id"]
    assert answer(pushrod, "build", "show", build["id"]) == shown
    assert answer(pushrod, "build", "show", "default/shown#1") == shown
    assert build["id"] in [one["id"] for one in answer(pushrod, "build", "list")]


def test_builds_of_several_projects_are_told_apart(pushrod: Pushrod, build: dict[str, Any]) -> None:
    first, *rows = command(pushrod, "build", "list").stdout.decode().splitlines()
    assert first.split("\t")[:3] == ["project", "no", "workflow"]
    assert any(row.startswith("default/shown\t1\tci\t") for row in rows)
    one_project = command(pushrod, "build", "list", "shown").stdout.decode()
    assert one_project.startswith("no\tworkflow\t")


def test_a_tags_build_names_its_tag_its_starter_and_its_agent(
    pushrod: Pushrod, tmp_path: Path
) -> None:
    project = answer(pushrod, "project", "create", "tagged")
    repository = Repository.create(tmp_path / "repository")
    repository.write(".pushrod.yml", "on: {tag: ['v*']}\n" + WORKFLOW)
    repository.commit("a release")
    repository.push(project["pushUrl"], pushrod.api.token, check=True)
    repository.git("tag", "v1")
    repository.git("push", project["pushUrl"].replace("//", f"//x:{pushrod.api.token}@"), "v1")
    found = pushrod.api.wait_finished(pushrod.api.builds(project["id"])[0]["id"])
    text = command(pushrod, "build", "show", "tagged#1").stdout.decode()
    assert " on tag v1: a release" in text
    assert "started by admin (tag)" in text
    [agent] = {step["agent"] for step in found["steps"]}
    assert f"\t{agent}\t" in text
    assert "\ttag v1\t" in command(pushrod, "build", "list", "tagged").stdout.decode()


def test_people_see_how_each_step_ended(pushrod: Pushrod, build: dict[str, Any]) -> None:
    text = command(pushrod, "build", "show", "shown#1").stdout.decode()
    assert "ci #1: failed" in text
    assert "one\tsucceeded\t" in text
    assert "two\tfailed\texit 4\tone\t" in text
    assert build["url"] in text


def test_logs_are_exact_to_the_byte(pushrod: Pushrod, build: dict[str, Any]) -> None:
    one = command(pushrod, "logs", "shown#1/one")
    assert (one.returncode, one.stdout, one.stderr) == (0, b"first\nno end", b"")
    both = command(pushrod, "logs", build["id"])
    assert both.stdout == b"first\nno endsecond\n"
    assert both.stderr.splitlines() == [b"-- one", b"-- two"]


def test_following_tells_steps_apart_and_ends_by_the_builds_result(
    pushrod: Pushrod, build: dict[str, Any]
) -> None:
    followed = command(pushrod, "logs", "-f", "shown#1")
    assert followed.returncode == 1
    assert sorted(followed.stdout.splitlines()) == [
        b"one | first",
        b"one | no end",
        b"two | second",
    ]
    assert followed.stderr.splitlines()[-1].startswith(b"-- build 1: failed")
    assert command(pushrod, "logs", "-f", "shown#1/one").returncode == 0
    assert command(pushrod, "logs", "-f", "shown#1/two").returncode == 1


def test_a_running_build_is_followed_and_cancelled(pushrod: Pushrod, tmp_path: Path) -> None:
    project = answer(pushrod, "project", "create", "slow")
    queued = pushrod.push_workflow(
        Repository.create(tmp_path / "repository"),
        project,
        "name: ci\nsteps: [{name: wait, image: any, run: 'echo begun; sleep 600'}]\n",
    )
    with subprocess.Popen(
        [sys.executable, "-m", "pushrod", "logs", "-f", "slow#1"],
        env={**os.environ, "PUSHROD_URL": pushrod.api.url, "PUSHROD_TOKEN": pushrod.api.token},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as following:
        assert following.stdout is not None
        assert following.stdout.readline() == b"begun\n"
        cancelled = answer(pushrod, "build", "cancel", "slow#1")
        assert cancelled["id"] == queued["id"]
        assert following.wait(60) == 1
    assert pushrod.api.build(queued["id"])["state"] == "cancelled"
    again = answer(pushrod, "build", "retry", "slow#1")
    assert (again["number"], again["retryOf"]) == (2, queued["id"])
    answer(pushrod, "build", "cancel", again["id"])


def test_a_finished_build_is_deleted_and_its_number_is_not_given_again(
    pushrod: Pushrod, tmp_path: Path
) -> None:
    project = answer(pushrod, "project", "create", "tidied")
    repository = Repository.create(tmp_path / "repository")
    queued = pushrod.push_workflow(repository, project, WORKFLOW)
    pushrod.api.wait_finished(queued["id"])
    assert command(pushrod, "build", "delete", "tidied#1").returncode == 0
    assert answer(pushrod, "build", "list", "tidied") == []
    gone = command(pushrod, "build", "delete", "tidied#1")
    assert (gone.returncode, b"has no build 1" in gone.stderr) == (1, True)
    assert answer(pushrod, "build", "create", "tidied")["number"] == 2


def test_tokens_are_made_used_and_revoked(pushrod: Pushrod, tmp_path: Path) -> None:
    made = command(pushrod, "token", "create", "reader", "--role", "viewer")
    token_file = tmp_path / "token"
    token_file.write_bytes(made.stdout)
    use = ("--token-file", str(token_file))
    assert command(pushrod, "build", "list", *use).returncode == 0
    refused = command(pushrod, "project", "create", "no", *use)
    assert refused.returncode == 1
    assert refused.stderr.startswith(b"pushrod: the token may not do this")
    (reader,) = [one for one in answer(pushrod, "token", "list") if one["name"] == "reader"]
    assert "token" not in reader
    assert command(pushrod, "token", "revoke", reader["id"]).returncode == 0
    revoked = command(pushrod, "build", "list", *use)
    assert revoked.returncode == 1
    assert b"does not accept the token" in revoked.stderr


def test_a_slug_of_an_image_is_bumped_renamed_and_forgotten(pushrod: Pushrod) -> None:
    answer(pushrod, "image", "create", "deb", "debian:12")
    changed = answer(pushrod, "image", "set", "deb", "--image", "debian:13", "--name", "debian")
    assert (changed["slug"], changed["imageUrl"]) == ("debian", "debian:13")
    nothing = command(pushrod, "image", "set", "debian")
    assert (nothing.returncode, b"--image" in nothing.stderr) == (1, True)
    assert command(pushrod, "image", "delete", "debian").returncode == 0
    assert answer(pushrod, "image", "list") == []
    gone = command(pushrod, "image", "delete", "debian")
    assert (gone.returncode, b"there is no image 'debian'" in gone.stderr) == (1, True)


def test_an_agent_joins_with_a_registration_token(pushrod: Pushrod, tmp_path: Path) -> None:
    token_file = tmp_path / "token"
    token_file.write_bytes(command(pushrod, "agent", "token").stdout)
    agent = Process(
        *("agent", "--url", pushrod.api.url, "--token-file", str(token_file)),
        *("--name", "joined", "--engine", "host", "--data", str(tmp_path / "agent")),
        log=tmp_path / "agent.log",
    )
    agent.start(r"registered as agent (\S+)")
    assert "joined" in [one["name"] for one in answer(pushrod, "agent", "list")]
    assert answer(pushrod, "agent", "pause", "joined")["paused"] is True
    assert _states_of(pushrod, "joined") == ["online, paused"]
    assert answer(pushrod, "agent", "resume", "joined")["paused"] is False
    shown = answer(pushrod, "agent", "show", "joined")
    assert (shown["online"], shown["paused"], shown["steps"]) == (True, False, [])
    assert b"online\n" in command(pushrod, "agent", "show", shown["id"]).stdout
    nobody = command(pushrod, "agent", "pause", "nobody")
    assert (nobody.returncode, b"no agent 'nobody'" in nobody.stderr) == (1, True)
    assert agent.stop() == 0
    assert answer(pushrod, "agent", "remove", "joined") == {"id": shown["id"], "removed": True}
    assert "joined" not in [one["name"] for one in answer(pushrod, "agent", "list")]


def test_an_agent_that_drained_is_offline_at_once_and_no_step_waits_for_it(
    pushrod: Pushrod, tmp_path: Path
) -> None:
    project = answer(pushrod, "project", "create", "drained")
    pushrod.start_agent("fast", labels=("disk=fast",))
    deadline = time.monotonic() + 60
    while _states_of(pushrod, "fast") != ["online"]:
        assert time.monotonic() < deadline
    assert pushrod.agents["fast"].stop() == 0
    assert _states_of(pushrod, "fast") == ["offline"]
    wanting = "steps: [{name: one, image: any, run: 'true', agents: {disk: fast}}]"
    repository = Repository.create(tmp_path / "repository")
    build = pushrod.push_workflow(repository, project, f"name: ci\n{wanting}\n")
    [step] = pushrod.api.build(build["id"])["steps"]
    assert step["waitsFor"].startswith("no connected agent has the labels disk=fast")
    assert command(pushrod, "build", "cancel", build["id"]).returncode == 0


def _states_of(pushrod: Pushrod, name: str) -> list[str]:
    listed = command(pushrod, "agent", "list").stdout.decode().splitlines()
    return [line.split("\t")[2] for line in listed if f"\t{name}\t" in line]


def test_an_agents_credential_is_listed_and_ends_when_revoked(
    pushrod: Pushrod, tmp_path: Path
) -> None:
    registration = command(pushrod, "agent", "token", "--account", "stolen").stdout.decode().strip()
    asked = {"name": "stolen", "labels": {}, "slots": 1}
    credential = Api(pushrod.api.url, registration).post("/api/agents/register", asked)["token"]
    (listed,) = [
        line.split("\t")
        for line in command(pushrod, "token", "list").stdout.decode().splitlines()
        if "agent stolen" in line
    ]
    assert (listed[2], listed[4]) == ("agent", "stolen")
    assert command(pushrod, "token", "revoke", listed[0]).returncode == 0
    status, _, _ = Api(pushrod.api.url, credential).request("POST", "/api/agents/poll", b"{}")
    assert status == 401


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("build", "show", "shown#99"), "the project shown has no build 99"),
        (("build", "show", "nothing#1"), "there is no project 'nothing'"),
        (("build", "show", "x"), "write its id, or project#number"),
        (("logs", "shown#1/three"), "it has: one, two"),
        (("build", "cancel", "shown#1"), "finished"),
        (("project", "list", "--url", "http://127.0.0.1:1"), "start one with `pushrod up`"),
        (("project", "list", "--token-file", "/nowhere"), "can't be read"),
    ],
)
def test_a_mistake_is_answered_by_one_line(
    pushrod: Pushrod, build: dict[str, Any], arguments: tuple[str, ...], message: str
) -> None:
    ended = command(pushrod, *arguments)
    assert (ended.returncode, ended.stdout) == (1, b"")
    (line,) = ended.stderr.decode().splitlines()
    assert line.startswith("pushrod: ")
    assert message in line


def test_a_second_coordinator_on_the_same_data_or_port_is_refused(
    pushrod: Pushrod, tmp_path: Path
) -> None:
    port = pushrod.api.url.rpartition(":")[2]
    for data, listen in ((pushrod.data, "0"), (tmp_path / "other", port)):
        ended = command(
            pushrod, "coordinator", "--data", str(data), "--listen", f"127.0.0.1:{listen}"
        )
        assert ended.returncode == 1
        assert ended.stderr.splitlines()[-1].startswith(b"pushrod: the coordinator can't run: ")


def test_up_is_ready_with_its_agent_and_drains_on_sigterm(tmp_path: Path) -> None:
    up = Process(
        *("up", "--data", str(tmp_path / "data"), "--listen", "127.0.0.1:0", "--engine", "host"),
        log=tmp_path / "up.log",
    )
    url = up.start(READY.pattern)
    token_file = tmp_path / "data/admin-token"
    assert token_file.stat().st_mode & 0o777 == 0o600
    options = ("--url", url, "--token-file", str(token_file))
    listing = subprocess.run(
        [sys.executable, "-m", "pushrod", *options, "project", "list", "--json"],
        capture_output=True,
        timeout=120,
    )
    assert json.loads(listing.stdout) == []
    assert up.stop() == 0


def test_up_without_an_engine_serves_and_says_what_to_do(tmp_path: Path) -> None:
    log = tmp_path / "up.log"
    up = Process(
        *("up", "--data", str(tmp_path / "data"), "--listen", "127.0.0.1:0"),
        *("--engine", "unix:///nowhere/buildkitd.sock"),
        log=log,
    )
    up.start(READY.pattern)
    assert "no step can run yet: " in log.read_text()
    assert up.stop() == 0
