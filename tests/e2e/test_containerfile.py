"""The Containerfile, built by pushrod itself, and both programs started from the image."""

from __future__ import annotations

import asyncio
import secrets
import shutil
from pathlib import Path

import pytest

from agent.engines import private
from tests.conftest import TestEngine
from tests.e2e.processes import Repository, running, step_named
from tests.e2e.wheels import ROOT, wheelhouse

pytestmark = [pytest.mark.engine, pytest.mark.timeout(1800)]

WORKFLOW = """\
name: image
on: {push: {}}
steps:
  - name: image
    build: {dockerfile: Containerfile, args: {BASE: "%(base)s"}, tags: ["%(tag)s"]}
  - name: both
    dependsOn: [image]
    image: "%(tag)s"
    user: "10001:10001"
    timeout: 10m
    run: |
      pushrod --version
      pushrod coordinator --data /tmp/data --listen 127.0.0.1:3999 > /tmp/ready &
      until grep -q ^ready /tmp/ready; do kill -0 $!; sleep 0.1; done
      export PUSHROD_URL=http://127.0.0.1:3999 PUSHROD_TOKEN="$(cat /tmp/data/admin-token)"
      pushrod agent --token-file /tmp/data/admin-token --data /tmp/agent --engine host \\
          --name contained &
      until pushrod agent list --json | grep -q '"online": true'; do kill -0 $!; sleep 0.1; done
      pushrod backup /tmp/backups --data /tmp/data
      echo "both are there, as user $(id -u)"
"""


def test_the_image_has_a_coordinator_and_an_agent(
    buildkit: TestEngine, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    base = asyncio.run(private.ensure_base_image(print))
    tag = f"127.0.0.1:5000/default/pushrod-{secrets.token_hex(4)}:1"
    repository = Repository.create(tmp_path / "repository")
    shutil.copytree(wheelhouse(tmp_path_factory), repository.path / "wheels")
    shutil.copy(ROOT / "Containerfile", repository.path)
    with running(tmp_path / "pushrod", buildkit.address) as pushrod:
        text = WORKFLOW % {"base": base, "tag": tag}
        build = pushrod.push_workflow(repository, pushrod.create_project(), text)
        build = pushrod.api.wait_finished(build["id"], seconds=900)
        logs = {one["name"]: pushrod.api.log(one["id"]).decode() for one in build["steps"]}
        assert build["state"] == "succeeded", logs
        assert "both are there, as user 10001" in logs["both"]
        assert step_named(build, "image")["images"][0]["reference"] == tag
