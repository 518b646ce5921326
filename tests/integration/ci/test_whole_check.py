"""`.ci/run`, with a `make` that only says what it would do."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_the_whole_check_tests_everything_once(tmp_path: Path) -> None:
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci")
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name, text in {".ci/setup": "", "make": 'exec /usr/bin/make -n "$@"\n'}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}")
        (tmp_path / name).chmod(0o755)
    said = subprocess.run(
        [str(tmp_path / ".ci" / "run")],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout
    assert re.findall(r"\.ci/test (.*)", said) == ["-q tests/unit ", "--ignore=tests/unit"]
