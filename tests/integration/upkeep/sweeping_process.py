"""A coordinator's retention and deletions in a process of their own: DATA PROJECT KEPT."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from coordinator.services.builds.deletions import Deletions
from coordinator.services.upkeep.retention import Retention
from coordinator.services.upkeep.sweeping import Sweeping
from coordinator.storage.builds.deletions import list_doomed
from tests.integration.core_fixture import open_core
from tests.integration.upkeep.many_builds import MainAlone


async def main(data: Path) -> None:
    async with open_core(data) as tested:
        core = replace(tested.core, repositories=cast("Any", MainAlone()))
        deletions = Deletions(core)
        deleting = asyncio.create_task(deletions.run())
        await Sweeping(core, Retention(core), deletions, pause_seconds=0).sweep()
        while await core.database.read(lambda connection: list_doomed(connection, 1)):
            await asyncio.sleep(0.02)
        deleting.cancel()


asyncio.run(main(Path(sys.argv[1])))
