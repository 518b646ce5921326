"""Modules built by somebody who has specification 000, a token and curl, by a real agent."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.processes import Pushrod, Repository, running

MONOREPO = Path(__file__).parents[2] / "examples" / "monorepo"
FINISHED = ("succeeded", "failed")
PATIENCE_SECONDS = 60.0
MODULES = """
modules:
  data_visualization:
    path: libs/visualization
    targets:
      default: ci
      production_bundle: {workflow: release, step: bundle}
"""
CI = "name: ci\non: {tag: v*}\nsteps: [{name: test, image: debian, run: exit 3}]\n"
RELEASE = """
name: release
on: {tag: "v*"}
steps:
  - name: compile
    image: debian
    outputPaths: [build/]
    cacheDirs: [~/.cache/compiler]
    run: |
      ls ~/.cache/compiler
      mkdir build
      echo "$PUSHROD_MODULE $PUSHROD_BUILD_TARGET $PUSHROD_PARAM_MODE" > build/made
      cp "$PUSHROD_MODULE_PATH/chart.js" build/
  - name: bundle
    image: debian
    dependsOn: [compile]
    outputPaths: [bundle.js]
    run: cat build/made build/chart.js | tee bundle.js
  - name: publish
    image: debian
    dependsOn: [bundle]
    run: exit 1
"""


@pytest.fixture
def pushrod(tmp_path: Path) -> Iterator[Pushrod]:
    with running(tmp_path / "pushrod") as pushrod:
        yield pushrod


def curl(pushrod: Pushrod, path: str, body: str | None = None) -> tuple[int, bytes]:
    """The document's calls as its reader makes them; the token goes by a header file."""
    options = [] if body is None else ["-H", "Content-Type: application/json", "-d", body]
    header = f"Authorization: Bearer {pushrod.api.token}\n"
    ran = subprocess.run(
        ["curl", "-sS", "-H", "@-", "-w", "\n%{http_code}", *options, pushrod.api.url + path],
        input=header.encode(),
        capture_output=True,
        timeout=PATIENCE_SECONDS,
        check=True,
    )
    answer, _, status = ran.stdout.rpartition(b"\n")
    return int(status), answer


def wait_for_end(pushrod: Pushrod, status_url: str) -> dict[str, Any]:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        status, answer = curl(pushrod, status_url)
        assert status == 200, answer
        shown: dict[str, Any] = json.loads(answer)
        if shown["status"] in FINISHED:
            return shown
        assert time.monotonic() < deadline, shown
        time.sleep(0.1)


def trigger(pushrod: Pushrod, body: str) -> dict[str, Any]:
    status, answer = curl(pushrod, "/api/build_synthesis/trigger", body)
    assert status == 202, answer
    triggered: dict[str, Any] = json.loads(answer)
    return triggered


def test_a_target_is_built_cleanly_and_its_artifacts_and_logs_are_fetched(
    pushrod: Pushrod, tmp_path: Path
) -> None:
    project, repository = pushrod.create_project(), Repository.create(tmp_path / "repository")
    repository.write(".pushrod/modules.yml", MODULES)
    repository.write(".pushrod/ci.yml", CI)
    repository.write(".pushrod/release.yml", RELEASE)
    repository.write("libs/visualization/chart.js", "draw()\n")
    repository.commit("visualization")
    repository.push(project["pushUrl"], pushrod.api.token, check=True)
    body = """
    {
      "module_name": "data_visualization",
      "build_target": "production_bundle",
      "clean_build": true,
      "build_parameters": {"mode": "fast; exit 9"}
    }
    """
    triggered = trigger(pushrod, body)
    ended = wait_for_end(pushrod, triggered["status_url"])
    assert ended["status"] == "succeeded", curl(pushrod, ended["logs_url"])
    made = "data_visualization production_bundle fast; exit 9\n"
    found = {one["name"]: curl(pushrod, one["url"])[1].decode() for one in ended["artifacts"]}
    assert found == {
        "build/made": made,
        "build/chart.js": "draw()\n",
        "bundle.js": f"{made}draw()\n",
    }
    assert curl(pushrod, ended["logs_url"])[1].decode() == (
        "=== step compile: succeeded ===\n"
        "cache: bypassed (clean build)\n"
        "=== step bundle: succeeded ===\n"
        f"{made}draw()\n"
    )
    failed = wait_for_end(
        pushrod, trigger(pushrod, '{"module_name": "data_visualization"}')["status_url"]
    )
    assert (failed["status"], failed["artifacts"]) == ("failed", [])
    assert b"=== step test: failed (exit code 3) ===" in curl(pushrod, failed["logs_url"])[1]


def test_the_modules_of_the_example_are_built_by_name(pushrod: Pushrod, tmp_path: Path) -> None:
    project, repository = pushrod.create_project(), Repository.create(tmp_path / "monorepo")
    shutil.copytree(MONOREPO, repository.path, dirs_exist_ok=True)
    repository.commit("all")
    pushed = repository.push(project["pushUrl"], pushrod.api.token, check=True)
    assert "modules" not in pushed.stderr
    checked = pushrod.command("validate", str(repository.path))
    assert checked.returncode == 0, checked.stdout
    for name in ("api", "web"):
        ended = wait_for_end(
            pushrod, trigger(pushrod, json.dumps({"module_name": name}))["status_url"]
        )
        assert (ended["module_name"], ended["status"]) == (name, "succeeded")


BACKEND = """
import pathlib, zipfile
def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    name = "shop-1-py3-none-any.whl"
    info = "shop-1.dist-info/"
    with zipfile.ZipFile(pathlib.Path(wheel_directory, name), "w") as wheel:
        wheel.writestr("shop.py", pathlib.Path("shop.py").read_text())
        wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\\nName: shop\\nVersion: 1\\n")
        wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\\nTag: py3-none-any\\n")
        wheel.writestr(info + "RECORD", "")
    return name
"""
PYPROJECT = '[build-system]\nrequires = []\nbackend-path = ["."]\nbuild-backend = "backend"\n'


def test_a_repository_that_declares_nothing_gives_its_wheel(
    pushrod: Pushrod, tmp_path: Path
) -> None:
    project, repository = pushrod.create_project(), Repository.create(tmp_path / "repository")
    repository.write("libs/shop/pyproject.toml", PYPROJECT)
    repository.write("libs/shop/backend.py", BACKEND)
    repository.write("libs/shop/shop.py", "PRICE = 3\n")
    repository.write(".pushrod/modules.yml", "modules: {shop: {path: libs/shop}}\n")
    repository.commit("a wheel")
    repository.push(project["pushUrl"], pushrod.api.token, check=True)
    triggered = trigger(pushrod, '{"module_name": "shop", "build_target": "python_wheel"}')
    ended = wait_for_end(pushrod, triggered["status_url"])
    assert ended["status"] == "succeeded", curl(pushrod, ended["logs_url"])
    [wheel] = ended["artifacts"]
    assert wheel["name"] == "libs/shop/dist/shop-1-py3-none-any.whl"
    with zipfile.ZipFile(io.BytesIO(curl(pushrod, wheel["url"])[1])) as opened:
        assert opened.read("shop.py") == b"PRICE = 3\n"
