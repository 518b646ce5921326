"""`.ci/test` for real, with tests that fail at will."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / ".ci" / "test"
FLAKY = """
from pathlib import Path

def test_flaky():
    seen = Path(__file__).with_name("seen")
    first = not seen.exists()
    seen.touch()
    assert not first

def test_steady():
    assert not Path(__file__).with_name("steady").exists()
    Path(__file__).with_name("steady").touch()
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / ".ci").mkdir()
    shutil.copy(SCRIPT, tmp_path / ".ci")
    (tmp_path / ".venv").symlink_to(sys.prefix)
    return tmp_path


def run(project: Path, test: str, ci: str = "true") -> subprocess.CompletedProcess[str]:
    (project / "test_it.py").write_text(test)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "CI"))}
    return subprocess.run(
        [str(project / ".ci" / "test"), "-p", "xdist.plugin"],
        env={**kept, "CI": ci, "WORKERS": "2", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_what_passes_at_the_second_try_is_named_and_nothing_else_runs_again(project: Path) -> None:
    ran = run(project, FLAKY)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stderr.splitlines() == [
        "test: a second try of 1 failed tests",
        "test: FLAKY, passed only at the second try, mend it: test_it.py::test_flaky",
    ]
    assert "1 failed, 1 passed" in ran.stdout
    assert "FAILED test_it.py::test_flaky" in ran.stdout


def test_there_is_no_second_try_outside_of_ci(project: Path) -> None:
    ran = run(project, FLAKY, ci="")
    assert (ran.returncode, ran.stderr) == (1, "")


def test_what_fails_twice_has_failed(project: Path) -> None:
    ran = run(project, "def test_it():\n    assert False\n")
    assert ran.returncode == 1
    assert "FLAKY" not in ran.stderr
    assert ran.stdout.count("FAILED test_it.py::test_it") == 2


def test_many_failures_are_no_noise(project: Path) -> None:
    many = (
        "import pytest\n\n@pytest.mark.parametrize('n', range(6))\ndef test_it(n):\n    assert 0\n"
    )
    ran = run(project, many)
    assert ran.returncode == 1
    assert ran.stderr == "test: 6 tests failed: too many for a second try\n"


def test_a_run_that_never_began_gets_no_second_try(project: Path) -> None:
    fails_once = (
        "from pathlib import Path\n\nassert Path('seen').exists() or Path('seen').touch()\n"
    )
    ran = run(project, f"{fails_once}\ndef test_it():\n    pass\n")
    assert ran.returncode == 1
    assert ran.stderr.startswith("test: the tests could not be collected: ")


def test_a_worker_that_dies_is_a_failed_test(project: Path) -> None:
    ran = run(
        project, FLAKY.replace("assert not first", "assert not first or __import__('os')._exit(7)")
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "mend it: test_it.py::test_flaky" in ran.stderr
