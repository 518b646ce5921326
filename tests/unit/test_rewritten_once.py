"""What is rewritten before there are workers is what they read."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
CONFTEST = """\
from pathlib import Path
from tests import rewritten_once

def pytest_configure(config):
    rewritten_once.begin(config)
    if not hasattr(config, "workerinput"):
        files = sorted(Path(config.args[0]).rglob("*-pytest-*.pyc"))
        Path("told").write_text("\\n".join(f"{file} {file.stat().st_ino}" for file in files))
"""


def test_a_worker_reads_what_was_rewritten_before_it_and_writes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "tests_of_its_own"
    folder.mkdir()
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_one.py").write_text("def test_one():\n    assert [1] == [1]\n")
    (folder / "read.py").write_text("assert True\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (folder / "left_out").mkdir()
    (folder / "left_out" / "test_two.py").write_text("assert True\n")
    of_pytest = ["-q", "-n", "1", "-p", "no:cacheprovider", "-p", "no:schemathesis"]
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "PYTHON"))}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *of_pytest, "--ignore", folder / "left_out", folder],
        cwd=tmp_path,
        env={**kept, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
    told = dict(line.split(" ") for line in (tmp_path / "told").read_text().splitlines())
    assert [Path(file).name.partition(".")[0] for file in told] == ["conftest", "test_one"]
    assert {file: str(Path(file).stat().st_ino) for file in told} == told
    assert {str(file) for file in folder.rglob("*-pytest-*.pyc")} == told.keys()
