"""The units as systemd itself judges them, and the messages it waits for from real processes."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.processes import running

UNITS = Path(__file__).parents[3] / "systemd"
MOST_EXPOSED = {"pushrod-coordinator": 1.5, "pushrod-agent": 1.5}

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="no systemd-analyze: apt-get install systemd"
)


def analyze(*arguments: str) -> str:
    ran = subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60
    )
    return ran.stdout + ran.stderr


@needs_systemd
@pytest.mark.parametrize("unit", sorted(path.name for path in UNITS.glob("*.service")))
def test_systemd_finds_nothing_wrong_with_the_unit(unit: str, tmp_path: Path) -> None:
    text = (UNITS / unit).read_text()
    for place in set(re.findall(r"^ExecStart=(\S+)", text, re.MULTILINE)):
        text = text.replace(place, sys.executable)
    (tmp_path / unit).write_text(text)
    # Other units that it names needn't be on this machine.
    assert analyze("verify", "--man=no", "--recursive-errors=no", str(tmp_path / unit)) == ""


@needs_systemd
@pytest.mark.parametrize(("unit", "most"), MOST_EXPOSED.items())
def test_the_unit_is_not_exposed_more_than_it_must_be(unit: str, most: float) -> None:
    judged = analyze("security", "--offline=true", f"{UNITS}/{unit}.service")
    exposure = re.search(r"exposure level for \S+: ([0-9.]+)", judged)
    assert exposure is not None, judged
    assert float(exposure[1]) <= most, judged


def test_each_variable_of_a_command_has_a_default_in_its_unit() -> None:
    for path in UNITS.glob("*.service"):
        text = path.read_text()
        command = next(line for line in text.splitlines() if line.startswith("ExecStart="))
        given = set(re.findall(r"^Environment=(\w+)=", text, re.MULTILINE))
        assert set(re.findall(r"\$\{?(\w+)", command)) <= given, path.name


def test_a_coordinator_and_an_agent_tell_systemd_that_they_are_ready_alive_and_stopping(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "100000")
        with running(tmp_path / "pushrod", agents=0) as pushrod:
            await_line(listening, f"READY=1\nSTATUS=ready {pushrod.api.url}")
            await_line(listening, "WATCHDOG=1")
            pushrod.start_agent()
            await_line(listening, "READY=1\nSTATUS=taking steps")
            assert pushrod.agents.pop("one").stop() == 0
            await_line(listening, "STOPPING=1")
            assert pushrod.coordinator.stop() == 0
            await_line(listening, "STOPPING=1")


def await_line(listening: socket.socket, wanted: str) -> None:
    """Read up to the wanted message; signs of life may come before it."""
    while (received := listening.recv(1000).decode()) != wanted:
        assert received == "WATCHDOG=1", received
