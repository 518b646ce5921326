"""pushrod's wheel and those of all that it asks for, made once for all workers of a run."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PIP = ["-m", "pip", "--quiet", "--disable-pip-version-check"]


def wheelhouse(factory: pytest.TempPathFactory) -> Path:
    """As the Containerfile says. An index is asked for half a minute of processor time."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "wheelhouse"
    folder.mkdir(exist_ok=True)
    made = folder / "wheels"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            _make(folder / "source", folder / "making")
            (folder / "making").rename(made)
    return made


def _make(source: Path, made: Path) -> None:
    """From a copy, so that nothing is left in the checkout."""
    for half_done in (source, made):
        shutil.rmtree(half_done, ignore_errors=True)
    leave = shutil.ignore_patterns(".git", ".venv", "__pycache__", "tests", "build")
    shutil.copytree(ROOT, source, ignore=leave)
    done = subprocess.run(
        [sys.executable, *PIP, "wheel", "--wheel-dir", str(made), f"{source}[otlp]", "pip"],
        capture_output=True,
        text=True,
        timeout=600,
        env={k: v for k, v in os.environ.items() if not k.startswith("PYTHON")},
    )
    assert done.returncode == 0, done.stderr
