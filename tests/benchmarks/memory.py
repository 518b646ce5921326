"""Resident memory of a coordinator and an agent that have nothing to do."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.samples import Row
from tests.e2e.processes import running

SAMPLES = 5
PAUSE_SECONDS = 1.0
RESIDENT = re.compile(r"^VmRSS:\s+(\d+) kB", re.MULTILINE)


def measure(folder: Path) -> list[Row]:
    """After the start and a few polls; the agent's engine is the host, then BuildKit."""
    agents: dict[str, float] = {}
    for engine in ("host", "auto"):
        with running(folder / engine, engine) as pushrod:
            time.sleep(2 * PAUSE_SECONDS)
            coordinators, ours = [], []
            for _ in range(SAMPLES):
                coordinators.append(resident_mb(pushrod.coordinator.pid))
                ours.append(resident_mb(pushrod.agents["agent1"].pid))
                time.sleep(PAUSE_SECONDS)
            coordinator, agents[engine] = statistics.median(coordinators), statistics.median(ours)
    n = f"(n={SAMPLES})"
    return [
        Row(
            what="idle coordinator, resident",
            measured=f"{coordinator:.0f} MB {n}",
            to_hold="≤ 110 MB",
        ),
        Row(
            what="idle agent, host engine",
            measured=f"{agents['host']:.0f} MB {n}",
            to_hold="≤ 65 MB",
        ),
        Row(
            what="idle agent, BuildKit", measured=f"{agents['auto']:.0f} MB {n}", to_hold="≤ 80 MB"
        ),
    ]


def resident_mb(pid: int) -> float:
    """Of the process and its children, in 10^6 bytes."""
    return sum(_resident_bytes(number) for number in family(pid)) / 1e6


def family(pid: int) -> Sequence[int]:
    """The process and all below it."""
    found = [pid]
    for number in found:
        for children in Path(f"/proc/{number}/task").glob("*/children"):
            found += map(int, children.read_text().split())
    return found


def _resident_bytes(pid: int) -> int:
    match = RESIDENT.search(Path(f"/proc/{pid}/status").read_text())
    return int(match[1]) * 1024 if match else 0
