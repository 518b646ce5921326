"""A log of 100 MB, from the script's first byte to the whole of it stored and checked."""

from __future__ import annotations

import hashlib
import statistics
import subprocess
import time
from datetime import datetime
from pathlib import Path

from tests.benchmarks.samples import Row
from tests.e2e.processes import Repository, running

LOG_BYTES = 100_000_000
RUNS = 3
LINE = b"0123456789abcdef" * 4
WORKFLOW = f"""name: log
steps:
  - name: print
    image: any
    run: |
      (yes {LINE.decode()} || true) | head -c {LOG_BYTES}
"""


def expected_sha256() -> str:
    line = LINE + b"\n"
    text = line * (LOG_BYTES // len(line) + 1)
    return hashlib.sha256(memoryview(text)[:LOG_BYTES]).hexdigest()


def measure(folder: Path) -> list[Row]:
    """The step's own times, which end once the coordinator has checked the log's digest.

    The floor is the same pipeline into a file.
    """
    speeds, floors = [], []
    with running(folder) as pushrod:
        project = pushrod.create_project("log")
        repository = Repository.create(folder / "repository")
        for _ in range(RUNS):
            floors.append(floor(folder / "floor"))
            build = pushrod.push_workflow(repository, project, WORKFLOW)
            build = pushrod.api.wait_finished(build["id"])
            step = build["steps"][0]
            assert build["state"] == "succeeded", build
            log = pushrod.api.log(step["id"])
            assert hashlib.sha256(log).hexdigest() == expected_sha256(), len(log)
            began, ended = (
                datetime.fromisoformat(step[key]).timestamp() for key in ("startedAt", "finishedAt")
            )
            speeds.append(LOG_BYTES / 1e6 / (ended - began))
    median, least = statistics.median(speeds), statistics.median(floors)
    return [
        Row(
            what="100 MB log, whole and checked",
            measured=f"{median:.0f} MB/s median (n={RUNS})",
            floor=f"{least:.0f} MB/s into a file",
            ratio=f"{median / least:.2f}",
            to_hold="≥ 30 MB/s",
        )
    ]


def floor(path: Path) -> float:
    """MB/s of the bare pipeline, its file brought to the disk."""
    command = f"yes {LINE.decode()} | head -c {LOG_BYTES} > '{path}'; sync '{path}'"
    began = time.monotonic()
    subprocess.run(["bash", "-c", command], check=True)
    return LOG_BYTES / 1e6 / (time.monotonic() - began)
