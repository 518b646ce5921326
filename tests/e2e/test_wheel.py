"""The wheel alone, installed where there is no checkout, runs what the README begins with."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import TestEngine
from tests.e2e.demo import Demo
from tests.e2e.processes import READY, Process
from tests.e2e.wheels import PIP, wheelhouse
from tests.integration.coordinator_fixture import GIT_ENVIRONMENT

WORKFLOW = "on: {push: {}}\nsteps: [{name: greet, image: any, run: 'echo hello'}]\n"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of an environment that has the wheel and what it asks for."""
    folder = tmp_path_factory.mktemp("wheel")
    wheels = wheelhouse(tmp_path_factory)
    [wheel] = wheels.glob("pushrod-*.whl")
    # By our own pip, and compiled when it is imported: most of it never is.
    run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], folder)
    programs = folder / "venv" / "bin"
    install = ["--python", str(programs / "python"), "install", "--no-compile"]
    of_these = ["--no-index", "--find-links", str(wheels), str(wheel)]
    run([sys.executable, *PIP, *install, *of_these], folder)
    return programs


def run(argv: list[str], folder: Path, **environment: str) -> str:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PUSHROD_", "PYTHON"))}
    done = subprocess.run(
        argv, cwd=folder, env={**kept, **environment}, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_it_finds_nothing_of_a_checkout(installed: Path, tmp_path: Path) -> None:
    found = run(
        [str(installed / "python"), "-c", "import coordinator; print(coordinator.__file__)"],
        tmp_path,
    )
    assert found.startswith(str(installed.parent))


@pytest.fixture
def up(installed: Path, tmp_path: Path) -> Iterator[str]:
    """`pushrod up`, with steps on this machine; its address."""
    data = tmp_path / "data"
    process = Process(
        *("up", "--data", str(data), "--engine", "host", "--listen", "127.0.0.1:0"),
        log=tmp_path / "up.log",
        program=[str(installed / "pushrod")],
    )
    try:
        yield process.start(READY.pattern)
    finally:
        process.stop()


def test_up_builds_a_push(installed: Path, up: str, tmp_path: Path) -> None:
    known = {**GIT_ENVIRONMENT, "PUSHROD_URL": up, "PUSHROD_DATA": str(tmp_path / "data")}
    path = f"{installed}:{os.environ['PATH']}"

    def pushrod(*arguments: str) -> str:
        return run([str(installed / "pushrod"), *arguments], tmp_path, **known)

    def git(*arguments: str) -> str:
        return run(["git", "-C", str(tree), *arguments], tmp_path, **{**known, "PATH": path})

    tree = tmp_path / "tree"
    run(["git", "init", "-q", "-b", "main", str(tree)], tmp_path, **known)
    (tree / ".pushrod.yml").write_text(WORKFLOW)
    git("add", ".")
    git("commit", "-q", "-m", "first")
    added = pushrod("project", "create", "app")
    url = re.search(r"git remote add pushrod (\S+)", added)
    assert url is not None, added
    git("config", f"credential.{up}.helper", "!pushrod git-credential")
    assert "remote: build #1" in git("push", url[1], "main")
    assert "hello" in pushrod("logs", "-f", "app#1")


@pytest.mark.engine
def test_the_demo_brings_its_example_along(
    installed: Path, tmp_path: Path, buildkit: TestEngine
) -> None:
    demo = Demo(tmp_path, str(installed / "python"))
    try:
        done = demo.run()
        assert done.returncode == 0, done.stderr
        assert "\nsucceeded\n" in done.stdout
    finally:
        demo.stop(tmp_path)
