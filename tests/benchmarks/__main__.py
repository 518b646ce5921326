"""`make bench`: pushrod's own numbers, each beside the floor it stands on.

`python -m tests.benchmarks [NAME…] [--builds N]` measures those of the given names alone. It fails
where a count or a processor time over its floor is exceeded, and never for the time that something
took.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from tests.benchmarks import (
    counts,
    git_folder,
    idle_agents,
    large_builds,
    lists,
    log_throughput,
    many_outputs,
    memory,
    push_latency,
    retention,
    services,
    shared_logs,
    step_overhead,
    throughput,
    waiting_steps,
)
from tests.benchmarks.samples import Row, table

BENCHMARKS: dict[str, Callable[[Path], Sequence[Row]]] = {
    "memory": memory.measure,
    "push": push_latency.measure_host,
    "push-buildkit": push_latency.measure_buildkit,
    "counts": counts.measure,
    "steps": step_overhead.measure_host,
    "steps-buildkit": step_overhead.measure,
    "git": git_folder.measure_host,
    "git-buildkit": git_folder.measure_buildkit,
    "services": services.measure,
    "outputs": many_outputs.measure,
    "builds": throughput.measure,
    "log": log_throughput.measure,
    "large": large_builds.measure,
    "retention": retention.measure,
    "queue": waiting_steps.measure,
    "shared-logs": shared_logs.measure,
    "idle-agents": idle_agents.measure,
}


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks")
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--builds", type=int, help="Of the lists' database; default 200,000.")
    given = parser.parse_args(arguments)
    names: Sequence[str] = given.names
    benchmarks = BENCHMARKS | {
        "lists": partial(lists.measure, builds=given.builds),
        "lists-postgresql": partial(lists.measure_postgresql, builds=given.builds),
    }
    unknown = [name for name in names if name not in benchmarks]
    if unknown:
        sys.exit(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(benchmarks)}")
    rows: list[Row] = []
    try:
        for name in names or list(benchmarks):
            began = time.monotonic()
            with tempfile.TemporaryDirectory(prefix="pushrod-bench-") as folder:
                rows += benchmarks[name](Path(folder) / "pushrod")
            sys.stderr.write(f"{name}: {time.monotonic() - began:.0f} s\n")
    finally:  # one that breaks takes nothing from those before it
        sys.stdout.write(f"{machine()}\n\n{table(rows)}\n")
    if exceeded := [row.exceeded for row in rows if row.exceeded]:
        sys.exit("exceeded: " + "; ".join(exceeded))


def machine() -> str:
    """What the numbers were measured on, and how busy others kept it."""
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {os.cpu_count()} CPUs, "
        f"{memory_bytes / 2**30:.0f} GiB, Linux {platform.release()}, "
        f"Python {platform.python_version()}, load {os.getloadavg()[1]:.1f}"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
