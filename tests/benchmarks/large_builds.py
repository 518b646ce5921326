"""500 steps in one build, with gates, nearly all generated: what it costs to resolve them."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.benchmarks.samples import Row
from tests.integration.large_builds import (
    GATES,
    MOST_PROCESSOR_MS,
    STEPS,
    Cost,
    large_build,
    reading_ms,
)
from tests.integration.step_costs import patient_coordinator

RUNS = 5


def measure(folder: Path) -> list[Row]:
    """The least of some runs: processor time, too, is longer where others have the caches."""
    folder.mkdir(parents=True)
    reading = min(reading_ms(STEPS - 2) for _ in range(RUNS))
    costs = asyncio.run(_costs(folder))
    own = min(cost.processor_ms for cost in costs)
    whole = reading + own
    limit = f"≤ {MOST_PROCESSOR_MS} ms"
    exceeded = f"{whole:.0f} ms to resolve {STEPS} steps, {limit}"
    return [
        Row(
            what=f"processor time to resolve {STEPS} steps, {GATES} of them gates, all but two "
            "generated",
            measured=f"{whole:.0f} ms: {reading:.0f} to read their file, {own:.0f} to work them "
            f"out and add them (least of {RUNS})",
            to_hold=limit,
            exceeded=exceeded if whole > MOST_PROCESSOR_MS else "",
        ),
        Row(
            what="statements of that",
            measured=str(min(cost.statements for cost in costs)),
        ),
    ]


async def _costs(folder: Path) -> list[Cost]:
    async with patient_coordinator(folder) as coordinator:
        builds = [await large_build(coordinator, STEPS - 2, f"b{run}") for run in range(RUNS)]
    return [build.cost for build in builds]
