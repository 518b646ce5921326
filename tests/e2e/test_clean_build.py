"""Clean builds through pushrod's own processes, on both engines."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from agent.engines import private
from tests.conftest import TestEngine
from tests.e2e.processes import Pushrod, Repository, running

CACHED = """
name: ci
steps:
  - name: fill
    image: debian
    cacheDirs: [~/.cache/tool]
    run: |
      cat ~/.cache/tool/filled 2>/dev/null || echo nothing
      echo "build $PUSHROD_BUILD_NUMBER" > ~/.cache/tool/filled
      if [ "$PUSHROD_BRANCH" = broken ]; then exit 1; fi
"""


def create(pushrod: Pushrod, *options: str) -> dict[str, Any]:
    made = pushrod.command("build", "create", "app", *options)
    assert made.returncode == 0, made.stderr
    return pushrod.api.wait_finished(made.stdout.strip())


def log_of(pushrod: Pushrod, build: dict[str, Any]) -> str:
    (step,) = build["steps"]
    return pushrod.api.log(step["id"]).decode()


def check_clean_builds(pushrod: Pushrod, folder: Path) -> None:
    project, repository = pushrod.create_project(), Repository.create(folder / "repository")
    first = pushrod.push_workflow(repository, project, CACHED)
    first = pushrod.api.wait_finished(first["id"])
    assert log_of(pushrod, first) == "nothing\n", first
    assert log_of(pushrod, create(pushrod)) == "build 1\n"
    clean = create(pushrod, "--clean")
    assert clean["cleanBuild"] is True
    assert log_of(pushrod, clean) == "cache: bypassed (clean build)\nnothing\n"
    assert log_of(pushrod, create(pushrod)) == "build 3\n"
    repository.push(project["pushUrl"], pushrod.api.token, "HEAD:broken", check=True)
    pushrod.api.wait_finished(pushrod.api.builds(project["id"])[0]["id"])  # the push's own
    failed = create(pushrod, "--clean", "--branch", "broken")
    assert failed["state"] == "failed"
    assert log_of(pushrod, failed) == "cache: bypassed (clean build)\nnothing\n"
    # That branch's cache is as it was, and so is the default branch's, which no other writes.
    assert log_of(pushrod, create(pushrod, "--branch", "broken")) == "build 5\n"
    assert log_of(pushrod, create(pushrod)) == "build 4\n"


def test_a_clean_build_begins_with_empty_caches_that_later_builds_take_over(
    tmp_path: Path,
) -> None:
    with running(tmp_path / "pushrod") as pushrod:
        check_clean_builds(pushrod, tmp_path)


@pytest.mark.engine
def test_a_clean_build_in_containers_begins_with_empty_caches_too(
    buildkit: TestEngine, tmp_path: Path
) -> None:
    image = asyncio.run(private.ensure_base_image(lambda _: None))
    with running(tmp_path / "pushrod", buildkit.address) as pushrod:
        pushrod.api.post("/api/docker-images", {"slug": "debian", "imageUrl": image})
        check_clean_builds(pushrod, tmp_path)
