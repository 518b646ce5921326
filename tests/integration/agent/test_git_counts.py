"""What `.git` adds to a step on the host whose commit its agent knows, in counts."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

MOST = {"made": 14, "opened": 19, "threads": 1, "requests": 0, "fetches": 0, "processes": 0}
"""Five folders, the pack and its index, `index`, HEAD, `config`, `packed-refs`, `shallow`, and what
holds them; in so small a workspace, the folders are opened once more to be removed. It is copied in
a thread while a process copies the files."""


async def test_git_asks_nobody_and_starts_nothing() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.integration.git_counts", "20"),
        cwd=Path(__file__).parents[3],
        stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await asyncio.wait_for(process.communicate(), 180)
    assert process.returncode == 0
    found: dict[str, float] = json.loads(printed)
    assert found["made"] > 0
    assert {what: found.get(what, 0) for what in MOST if found.get(what, 0) > MOST[what]} == {}
