"""A clock for promises such as "within a second", on machines that do other things as well.

It stands still while anything on the machine waits for a processor, a disk or memory, or while the
hypervisor runs another machine: what is late then may not be our doing.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

PRESSURE = Path("/proc/pressure")
"""Microseconds for which some task waited, by resource; not every kernel counts them."""


def quiet_seconds() -> float:
    """The differences of two readings are seconds that passed quietly."""
    return time.monotonic() - stalled_seconds()


def stalled_seconds() -> float:
    """Since boot; time for which several tasks waited counts once for each resource."""
    waited = (seconds_of_pressure(PRESSURE / name) for name in ("cpu", "io", "memory"))
    return sum(waited) + seconds_stolen(Path("/proc/stat").read_text())


def seconds_of_pressure(file: Path) -> float:
    try:
        text = file.read_text()
    except OSError:  # no such file, or a kernel that was told not to count
        return 0.0
    [some] = (line for line in text.splitlines() if line.startswith("some "))
    return int(some.rpartition("total=")[2]) / 1e6


def seconds_stolen(stat: str) -> float:
    """The eighth number of the first line: clock ticks of all processors together."""
    words = stat.partition("\n")[0].split()
    return int(words[8]) / os.sysconf("SC_CLK_TCK")
