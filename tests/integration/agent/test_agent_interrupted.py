"""An attempt that is taken away at each of the moments at which its run waits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from agent.cache_keys import CacheKeys
from agent.coordinator_client import CoordinatorClient
from agent.engines.host import HostEngine
from agent.journal import Journal
from agent.kept_artifacts import KeptArtifacts
from agent.sources import Sources
from agent.step_run import StepRun
from agent.workshop import Workshop
from pipelines_schema.contract import LeaseRef, PollRequest, RegisterRequest, StepSpec
from tests.integration.agent_bench import Bench, open_bench
from tests.interruption import interrupted_at


class BusyExecutor(ThreadPoolExecutor):
    """Whatever is asked of it waits for its turn, and may be cancelled until then."""

    def submit(self, *arguments: Any, **named: Any) -> Future[Any]:
        super().submit(time.sleep, 0.005)
        return super().submit(*arguments, **named)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with open_bench() as bench:
        yield bench


@pytest.fixture
async def workshop(bench: Bench) -> AsyncIterator[Workshop]:
    async def nothing(_: str) -> None:
        """No credential is refused here."""

    async def takes_nothing(_spec: StepSpec, _sent_at: float, _credential: str) -> bool:
        return False

    engine = HostEngine(data_dir=bench.data, work_dir=bench.work)
    await engine.check()
    async with CoordinatorClient(bench.coordinator.url, poll_timeout_seconds=30) as client:
        journal = Journal(bench.data / "attempts")
        journal.open()
        request = RegisterRequest(name="agent")
        client.credential = (
            await client.register(bench.coordinator.registration_token, request)
        ).token
        yield Workshop(
            client=client,
            engine=engine,
            journal=journal,
            sources=Sources(bench.data / "sources"),
            kept=KeptArtifacts(bench.data / "artifacts", min_free_bytes=0),
            cache_keys=CacheKeys(bench.data / "cache-keys"),
            watchdog=None,
            engine_lost=lambda: None,
            sign_in_again=nothing,
            wants_next=lambda: None,
            take_next=takes_nothing,
        )
    await engine.close()


async def begin(bench: Bench, workshop: Workshop) -> StepRun:
    bench.coordinator.add_step("echo text; mkdir o; echo x > o/f", outputPaths=["o"])
    (offer,) = (await workshop.client.poll(PollRequest(free=1))).offers
    spec = await workshop.client.accept(LeaseRef(step_id=offer.step_id, epoch=offer.epoch))
    return StepRun(workshop=workshop, entry=workshop.journal.begin(spec), resumed=False)


async def test_an_attempt_that_is_taken_away_at_any_moment_leaves_nothing(
    bench: Bench, workshop: Workshop
) -> None:
    asyncio.get_running_loop().set_default_executor(BusyExecutor(max_workers=1))
    for moment in count():
        work = await begin(bench, workshop)
        if not await interrupted_at(moment, work.run(), work.abandon):
            break
        assert bench.journal == [], f"after an interruption at moment {moment}"
        assert list(Path(bench.work, "attempts").iterdir()) == []
    assert moment >= 6
