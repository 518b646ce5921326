"""`pushrod demo` as a newcomer runs it, with a data folder of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from agent.engines.private.processes import ProcessIdentity, is_alive
from tests.conftest import TestEngine
from tests.quiet_time import quiet_seconds


class Demo:
    def __init__(self, folder: Path) -> None:
        self.data = folder / "pushrod/demo"
        kept = {k: v for k, v in os.environ.items() if k not in ("PUSHROD_DATA", "PUSHROD_TOKEN")}
        self._environment = {**kept, "XDG_DATA_HOME": str(folder)}

    def run(
        self, *options: str, extra: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "pushrod", "demo", *options],
            env={**self._environment, **(extra or {})},
            capture_output=True,
            text=True,
            timeout=240,
        )

    def stop(self, folder: Path) -> str:
        """Ends its pushrod; the engine is everybody's, so this one looks for it elsewhere."""
        ended = self.run("--stop", extra={"PUSHROD_ENGINE_DIR": str(folder / "no-engine")})
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    @property
    def process(self) -> Mapping[str, Any]:
        process: Mapping[str, Any] = json.loads((self.data / "background.json").read_text())[
            "process"
        ]
        return process


@pytest.fixture
def demo(tmp_path: Path, buildkit: TestEngine) -> Iterator[Demo]:
    demo = Demo(tmp_path)
    yield demo
    demo.stop(tmp_path)


@pytest.mark.engine
def test_the_demo_builds_a_real_push_and_its_second_run_starts_nothing_anew(
    demo: Demo, tmp_path: Path
) -> None:
    first = demo.run()
    assert first.returncode == 0, first.stderr
    assert "\nsucceeded\n" in first.stdout
    assert "cache: cold" in first.stdout
    assert "remote: build #1 hello (main): http://127.0.0.1:" in first.stderr
    token_file = demo.data / "admin-token"
    assert f"log in with  the token in {token_file}" in first.stdout
    assert token_file.read_text().strip() not in first.stdout + first.stderr
    started = demo.process

    began = quiet_seconds()
    second = demo.run()
    assert quiet_seconds() - began < 15
    assert second.returncode == 0, second.stderr
    assert "cache: warm (built by build 1)" in second.stdout
    assert demo.process == started

    assert f"stopping pushrod (pid {started['pid']})" in demo.stop(tmp_path)
    assert not is_alive(ProcessIdentity(**started))
    assert "no demo was running" in demo.stop(tmp_path)
