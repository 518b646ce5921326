"""Collects garbage in a process of its own, which a test kills: DATA DAYS."""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta
from pathlib import Path

from coordinator.services.builds.deletions import Deletions
from coordinator.services.core import utc_now
from coordinator.services.upkeep.garbage import Garbage
from coordinator.services.upkeep.retention import Retention
from tests.integration.core_fixture import builds_over


async def main(data: Path, later: timedelta) -> None:
    async with builds_over(data, lambda: utc_now() + later) as builds:
        core = builds.core
        await Garbage(core, Retention(core), Deletions(core)).collect()


asyncio.run(main(Path(sys.argv[1]), timedelta(days=int(sys.argv[2]))))
