"""`pushrod demo` as a newcomer runs it, with a data folder of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.engines.private.processes import ProcessIdentity, is_alive
from tests.conftest import TestEngine
from tests.e2e.demo import Demo
from tests.quiet_time import quiet_seconds


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
