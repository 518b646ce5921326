"""Processes that read text, kept from one test to the next: each takes a fifth of a second of
processor time to start, and most tests have a workflow read."""

from __future__ import annotations

from coordinator.reading.limits import REPORTS
from coordinator.reading.process import ReadingProcess
from coordinator.reading.processes import ReadingProcesses

_idle: list[ReadingProcess] = []
"""They end with the process of the tests, whose end they see."""
_idle_of_reports: list[ReadingProcess] = []


class SharedReadings(ReadingProcesses):
    async def close(self) -> None:
        """Whoever is next takes them on."""


def shared_readings() -> ReadingProcesses:
    """For one coordinator: the turns are its own, the processes whoever's test was before."""
    return SharedReadings(_idle=_idle)


def shared_report_readings() -> ReadingProcesses:
    return SharedReadings(REPORTS, _idle=_idle_of_reports)
