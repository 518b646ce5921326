"""What one reading may cost, and how a process of readings tells that it was too much."""

from __future__ import annotations

import signal
import struct
from dataclasses import dataclass

CONDITION_SECONDS = 0.25
"""Of processor time, for one condition."""
READING_SECONDS = 3
"""Of processor time, for all of it; the kernel counts whole seconds, so that it may be one more.
The worst that is read to its end takes one."""
WAIT_SECONDS = 30.0
"""By the clock, for a process that neither ends nor answers, on a machine that has other work."""
MEMORY_BYTES = 512 * 1024 * 1024
"""Beside what the process has at its start. The syntax trees of an image's sources are the most."""
KEPT_BYTES = 192 * 1024 * 1024
"""A process that has ever had more is not kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    seconds: int = READING_SECONDS
    wait_seconds: float = WAIT_SECONDS
    memory_bytes: int = MEMORY_BYTES


REPORTS = Limits(seconds=30, wait_seconds=90.0, memory_bytes=768 * 1024 * 1024)
"""Of a step's reports, which are files of many megabytes. Its agent waits two minutes for the
answer to a completion. The worst that is read to its end takes a third of the time."""

CONDITION_TOO_LONG = signal.SIGPROF
READING_TOO_LONG = signal.SIGXCPU
OUT_OF_MEMORY = 70
"""The exit code; a library that gives up by itself ends with SIGABRT instead."""

LENGTH = struct.Struct(">I")
"""Before each request and each answer, which are pickled."""
