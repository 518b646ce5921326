"""A file of GitHub's, imported, pushed, and built."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from agent.engines import private
from tests.conftest import TestEngine
from tests.e2e.processes import Repository, running, step_named

WORKFLOW = r"""name: CI
on: {push: {branches: [main]}}
env: {LEVEL: "2", REF: "${{ github.ref_name }}"}
jobs:
  plan:
    runs-on: ubuntu-latest
    outputs: {version: "${{ steps.read.outputs.version }}"}
    steps:
      - uses: actions/checkout@v4
        with: {fetch-depth: 0}
      - id: read
        run: |
          echo "version=$(cat VERSION)" >> "$GITHUB_OUTPUT"
          echo "COLOUR=blue" >> "$GITHUB_ENV"
          git log --format=%s
      - run: echo "$COLOUR ${{ steps.read.outputs.version }} on $REF at $GITHUB_SHA"
      - run: cd / && touch here
      - run: test -f VERSION
      - {run: "exit 3", continue-on-error: true}
      - {if: "github.event_name == 'pull_request'", run: exit 4}
      - {if: always(), run: echo at the end}
  test:
    needs: plan
    runs-on: ${{ matrix.os }}
    strategy:
      matrix: {os: [ubuntu-latest, windows-latest], shard: [1, 2]}
    steps:
      - uses: actions/checkout@v4
      - shell: python
        run: print("from python")
      - run: |
          mkdir -p out
          echo '${{ github.event.head_commit.message }}' "${{ matrix.shard }}" \
            > out/${{ matrix.shard }}
      - uses: actions/upload-artifact@v4
        with: {name: "out-${{ matrix.shard }}", path: out/}
  release:
    needs: [plan, test]
    if: github.ref == 'refs/heads/main' && needs.plan.outputs.version == '1.5'
    runs-on: ubuntu-latest
    steps:
      - uses: actions/download-artifact@v4
      - run: cat out/1 out/2; echo "releasing ${{ needs.plan.outputs.version }}"
  never:
    if: startsWith(github.ref, 'refs/tags/')
    runs-on: ubuntu-latest
    steps: [{run: exit 1}]
"""
MESSAGE = "it's $(touch /tmp/x) `now`"


@pytest.mark.engine
def test_an_imported_file_is_pushed_and_builds_green(buildkit: TestEngine, tmp_path: Path) -> None:
    image = asyncio.run(private.ensure_base_image(lambda _: None))
    repository = Repository.create(tmp_path / "repository")
    repository.write(".github/workflows/ci.yml", WORKFLOW)
    repository.write("VERSION", "1.5")
    with running(tmp_path / "pushrod", buildkit.address) as pushrod:
        pushrod.api.post("/api/docker-images", {"slug": "debian", "imageUrl": image})
        project = pushrod.create_project("imported")
        told = pushrod.command("import", str(repository.path), "--image", "debian")
        assert told.returncode == 3, told.stderr  # windows-latest is left out
        assert pushrod.command("validate", str(repository.path)).returncode == 0
        repository.commit(MESSAGE)
        repository.push(project["pushUrl"], pushrod.api.token, check=True)
        build = pushrod.api.wait_finished(pushrod.api.builds(project["id"])[0]["id"])
        logs = {step["name"]: pushrod.api.log(step["id"]).decode() for step in build["steps"]}
        assert build["state"] == "succeeded", logs
        assert {step["name"]: step["status"] for step in build["steps"]} == {
            "plan": "SUCCESS",
            "test (ubuntu-latest, 1)": "SUCCESS",
            "test (ubuntu-latest, 2)": "SUCCESS",
            "release": "SUCCESS",
            "never": "SKIPPED",
        }
        assert f"{MESSAGE}\nblue 1.5 on main at {build['commitHash']}\n" in logs["plan"]
        assert logs["plan"].endswith("at the end\n")
        assert "from python\n" in logs["test (ubuntu-latest, 1)"]
        assert logs["release"].endswith(f"{MESSAGE} 1\n{MESSAGE} 2\nreleasing 1.5\n")
        assert step_named(build, "never")["status"] == "SKIPPED"
