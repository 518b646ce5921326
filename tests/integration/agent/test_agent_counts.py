"""What a step costs an agent on the host, in counts: independent of the machine and its load."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

MOST = {"made": 7, "opened": 10, "threads": 7}
"""For a step without source, artifacts and caches: workspace, home, tmp and the
folder around them, script and log; what these and their removal open; the visits to threads, with
up to three for polls. The lock and table of user ids are opened once, before: no other agent is
given an id by the same table."""
SYNCED = 2
"""Its beginning and its end."""


@pytest.fixture(scope="module")
def counts() -> dict[str, float]:
    return asyncio.run(_counts())


async def _counts() -> dict[str, float]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.integration.agent_counts", "10"),
        cwd=Path(__file__).parents[3],
        stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode == 0
    found: dict[str, float] = json.loads(printed)
    return found


@pytest.mark.parametrize("what", MOST)
def test_a_plain_step_costs_no_more_than(counts: dict[str, float], what: str) -> None:
    assert 0 < counts[what] <= MOST[what], counts


def test_its_beginning_and_its_end_are_brought_to_the_disk_and_nothing_else(
    counts: dict[str, float],
) -> None:
    assert counts["synced"] == SYNCED
