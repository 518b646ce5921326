"""What of an attempt's services is given up at which moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from agent.engines.buildkit import llb
from agent.engines.buildkit.service_images import Circumstances
from agent.engines.buildkit.service_log import StepLog
from agent.engines.buildkit.services import Services
from agent.engines.protocol import StepRequest
from pipelines_schema.contract import ServiceSpec


class SlowFence:
    """A group is long in opening, and its removal takes until `gone`."""

    def __init__(self) -> None:
        self.opening, self.leaving, self.gone = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.removed = False

    @asynccontextmanager
    async def group(self, attempt_id: str) -> AsyncIterator[None]:
        try:
            self.opening.set()
            await asyncio.Event().wait()
            yield
        finally:
            self.leaving.set()
            await self.gone.wait()
            self.removed = True


class NoImages:
    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def solve(self, definition: object) -> str:
        self.asked.set()
        raise ValueError("no such image")


async def test_a_group_is_removed_though_a_cancel_meets_a_failed_start(tmp_path: Path) -> None:
    fence: Any = SlowFence()
    build: Any = NoImages()
    nothing: Any = SimpleNamespace(reference="image", write=None)
    around = Circumstances(
        build=build,
        platform=llb.Platform(os="linux", architecture="amd64"),
        images=nothing,
        logins=nothing,
        log=StepLog(nothing),
        fence=fence,
    )
    request = StepRequest(
        attempt_id="one",
        step_name="test",
        image="image",
        script="",
        env={},
        outputs=tmp_path,
        scratch=tmp_path,
        timeout_seconds=1,
        services=[ServiceSpec(name="db", image="image", ready_seconds=1)],
    )
    async with asyncio.timeout(30):
        services = Services(request, [nothing], around)
        await fence.opening.wait()
        await build.asked.wait()
        await turns()
        ending = asyncio.create_task(services.end())
        await fence.leaving.wait()
        await turns()
        fence.gone.set()
        await ending
    assert fence.removed


async def turns() -> None:
    """Enough of the loop's for all that has not to wait."""
    for _ in range(20):
        await asyncio.sleep(0)
