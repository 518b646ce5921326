"""What a step and a build cost, counted: the same on any machine, however busy."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

from tests.benchmarks.samples import Row
from tests.integration.agent.test_agent_counts import MOST, SYNCED
from tests.integration.step_costs import (
    MOST_COMMITS_OF_A_BUILD,
    MOST_STATEMENTS_OF_A_BUILD,
    MOST_STATEMENTS_OF_A_STEP,
    Costs,
    costs_of_a_build,
    costs_of_a_step,
    patient_coordinator,
)

STEPS = 50
SPARE = 0.25
"""What runs by itself beside them, for each step or build."""


def measure(folder: Path) -> list[Row]:
    folder.mkdir(parents=True)
    step, build = asyncio.run(_coordinator(folder))
    agent = _agent()
    return [
        _row(
            f"statements of a step in a chain of {STEPS}",
            step.statements,
            MOST_STATEMENTS_OF_A_STEP,
        ),
        _row("commits of such a step", step.commits, 1),
        _row("statements of a build of one step", build.statements, MOST_STATEMENTS_OF_A_BUILD),
        _row("commits of such a build", build.commits, MOST_COMMITS_OF_A_BUILD),
        _row("the agent's syncs to the disk for a step", agent["synced"], SYNCED),
        *(_row(what, agent[name], MOST[name]) for name, what in OF_THE_AGENT.items()),
    ]


OF_THE_AGENT = {
    "made": "files and folders that the agent makes for a step",
    "opened": "files that it opens",
    "threads": "visits to threads",
}


async def _coordinator(folder: Path) -> tuple[Costs, Costs]:
    async with patient_coordinator(folder) as coordinator:
        return await costs_of_a_step(coordinator, STEPS), await costs_of_a_build(coordinator)


def _agent() -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.agent_counts", "10"],
        check=True,
        stdout=subprocess.PIPE,
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _row(what: str, count: float, most: int) -> Row:
    return Row(
        what=what,
        measured=f"{count:.1f}",
        to_hold=f"≤ {most}",
        exceeded=f"{what}: {count:.1f}, not {most}" if count > most + SPARE else "",
    )
