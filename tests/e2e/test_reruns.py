"""`pushrod build retry --failed|--step` and `build cancel --step`, from the push to the engines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.processes import Pushrod, Repository, is_running, running, step_named

WORKFLOW = """\
name: ci
steps:
  - name: make
    image: any
    run: |
      mkdir -p dist/empty; echo "made in $PUSHROD_BUILD_NUMBER" > dist/app; ln -s app dist/link
    outputPaths: [dist]
    secrets: [KEY]
  - {name: test, image: any, run: 'test "$PUSHROD_BUILD_NUMBER" -gt 1'}
  - {name: pack, image: any, dependsOn: [make, test], run: "cat dist/link; test -d dist/empty"}
  - {name: tell, image: any, dependsOn: [test], runOn: failure, run: "echo told"}
"""
SLOW = """\
name: slow
steps:
  - {name: slow, image: any, run: "echo begun; sleep 1000"}
  - {name: after, image: any, dependsOn: [slow], run: "true"}
  - {name: other, image: any, run: "echo fine"}
"""


@pytest.fixture(scope="module")
def pushrod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pushrod]:
    with running(tmp_path_factory.mktemp("pushrod")) as pushrod:
        yield pushrod


def states(pushrod: Pushrod, build_id: str) -> dict[str, str]:
    build = pushrod.api.wait_finished(build_id)
    return {step["name"]: step["status"].lower() for step in build["steps"]}


def new_id(pushrod: Pushrod, *arguments: str) -> str:
    """What the command prints last: the id of a build."""
    ended = pushrod.command("build", *arguments)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.split()[-1]


def test_only_what_failed_runs_again(pushrod: Pushrod, tmp_path: Path) -> None:
    repository, project = (
        Repository.create(tmp_path / "repository"),
        pushrod.create_project("again"),
    )
    assert pushrod.command("secret", "set", "again", "KEY", given="sesame").returncode == 0
    queued = pushrod.push_workflow(repository, project, WORKFLOW)
    assert states(pushrod, queued["id"]) == {
        "make": "success",
        "test": "failed",
        "pack": "skipped",
        "tell": "success",
    }
    # What was taken over asks for nothing any more.
    assert pushrod.command("secret", "delete", "again", "KEY").returncode == 0
    second = new_id(pushrod, "retry", "again#1", "--failed")
    assert states(pushrod, second) == {
        "make": "success",
        "test": "success",
        "pack": "success",
        "tell": "skipped",
    }
    build = pushrod.api.build(second)
    assert pushrod.api.log(step_named(build, "pack")["id"]) == b"made in 1\n"
    assert step_named(build, "make")["reason"] == "taken over from #1"
    assert pushrod.command("secret", "set", "again", "KEY", given="sesame").returncode == 0
    third = new_id(pushrod, "retry", "again#2", "--step", "make")
    assert set(states(pushrod, third).values()) == {"success", "skipped"}
    pack = step_named(pushrod.api.build(third), "pack")
    assert pushrod.api.log(pack["id"]) == b"made in 3\n"


def test_one_step_is_cancelled(pushrod: Pushrod, tmp_path: Path) -> None:
    repository = Repository.create(tmp_path / "repository")
    queued = pushrod.push_workflow(repository, pushrod.create_project("slow"), SLOW)
    build = pushrod.api.wait(queued["id"], is_running("slow"))
    pushrod.api.wait_for_log(step_named(build, "slow")["id"], b"begun")
    ended = pushrod.command("build", "cancel", "slow#1", "--step", "slow")
    assert (ended.returncode, ended.stderr) == (0, "build 1: cancelling slow\n")
    assert states(pushrod, queued["id"]) == {
        "slow": "cancelled",
        "after": "skipped",
        "other": "success",
    }
