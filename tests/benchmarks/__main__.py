"""`make bench`: pushrod's own numbers, each beside the floor it stands on."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from pathlib import Path

from tests.benchmarks import push_latency, step_overhead


def main() -> None:
    sys.stdout.write(f"{os.cpu_count()} CPUs, Python {platform.python_version()}\n")
    for benchmark in (push_latency, step_overhead):
        with tempfile.TemporaryDirectory(prefix="pushrod-bench-") as folder:
            for line in benchmark.measure(Path(folder) / "pushrod"):
                sys.stdout.write(line + "\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
