from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import scratch

ROOT = Path(__file__).parents[2]
PLENTY = "MemTotal: 99999999 kB\nMemAvailable: 99999999 kB\nHugePages_Total: 0\n"
LITTLE = "MemTotal: 99999999 kB\nMemAvailable: 1000 kB\n"


def mounted(kind: str, options: str) -> str:
    return f"/dev/vda / ext4 rw 0 0\n{kind} /dev/shm {kind} {options} 0 0\n"


@pytest.mark.parametrize(
    ("mounts", "memory"),
    [
        (mounted("tmpfs", "rw,nosuid"), PLENTY),
        (mounted("tmpfs", "rw,nodev"), PLENTY),
        (mounted("tmpfs", "rw,noexec,relatime"), PLENTY),
        (mounted("ext4", "rw,relatime"), PLENTY),
        (mounted("tmpfs", "rw,relatime"), LITTLE),
    ],
)
def test_where_tests_would_be_hindered_nothing_lies_in_memory(mounts: str, memory: str) -> None:
    assert not scratch.has_room(scratch.MEMORY, mounts, memory)


def test_what_is_no_folder_has_no_room() -> None:
    assert not scratch.has_room(Path("/dev/nothing"), mounted("tmpfs", "rw"), PLENTY)


def test_tests_write_where_the_scratch_is_and_nothing_of_it_is_left(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(
        "from tests import scratch\n"
        f"scratch.MEMORY = scratch.Path({str(tmp_path)!r})\n"
        "scratch.has_room = lambda folder: True\n"
        "def pytest_configure(config): config.folder = scratch.begin()\n"
        "def pytest_unconfigure(config): scratch.end(config.folder)\n"
    )
    (tmp_path / "test_it.py").write_text(
        "import os, sys\n"
        "def test_it(tmp_path):\n"
        "    (tmp_path / 'left').write_text('')\n"
        "    print('at', tmp_path, 'and', os.environ['TMPDIR'])\n"
        "    assert False\n"
    )
    killed = subprocess.Popen(["true"])
    killed.wait()
    (tmp_path / f"t.{killed.pid}").mkdir()
    (tmp_path / "t.others").mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "TMPDIR"}
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "-p", "no:cacheprovider", "."],
        cwd=tmp_path,
        env=environment | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    assert "1 failed" in ran.stdout, ran.stdout + ran.stderr
    assert f"at {tmp_path}/t." in ran.stdout
    assert f"and {tmp_path}/t." in ran.stdout
    assert [path.name for path in tmp_path.glob("t.*")] == ["t.others"]


def test_who_names_a_folder_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/tmp")
    assert scratch.begin() is None
