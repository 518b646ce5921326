"""An agent looks at its disks before each poll, and drops what no step has used for long."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.disks import shortest
from agent.engines.host_caches import HostCaches
from agent.engines.protocol import CacheMount, StepRequest
from agent.sources import Sources
from agent.worker import Agent
from pipelines_schema.contract_sources import SourceSpec
from tests.integration.agent_bench import ended, open_bench
from tests.integration.small_disks import MIB, small_disk

DAY = 86_400.0
TOKEN = "step-token-for-sources"


@pytest.fixture
def engine_disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "engine") as folder:
        yield folder


async def test_an_agent_whose_engine_is_short_of_disk_takes_no_work_until_it_is_not(
    engine_disk: Path,
) -> None:
    filling = engine_disk / "filling"
    filling.write_bytes(b"x" * 6 * MIB)
    async with open_bench() as bench:
        agent: Agent = bench.new_agent(min_free_bytes=4 * MIB, engine_dir=engine_disk)
        running = asyncio.create_task(agent.run())
        step = bench.coordinator.add_step("echo hello")
        while not bench.coordinator.polls:
            await asyncio.sleep(0.01)
        first = bench.coordinator.polls[0]
        assert first.free == 0
        assert first.disk["freeBytes"] < first.disk["floorBytes"] == 4 * MIB
        assert step.completion is None
        filling.unlink()
        await ended(step)
        assert bench.coordinator.polls[-1].disk["freeBytes"] > 4 * MIB
        agent.begin_drain()
        await asyncio.wait_for(running, 60)


def test_the_shortest_disk_counts_and_one_that_is_not_there_does_not(
    tmp_path: Path, engine_disk: Path
) -> None:
    assert shortest([tmp_path, engine_disk, tmp_path / "none"]).folder == engine_disk
    assert shortest([tmp_path, tmp_path / "none"]).folder == tmp_path


async def test_sources_that_no_step_used_for_long_go() -> None:
    async with open_bench() as bench:
        bench.make_repository()
        spec = SourceSpec.model_validate(bench.source(bench.commit()))
        folder = bench.root / "sources"
        for project, days in (("old", 31), ("newer", 29)):
            sources = Sources(folder)
            sources.open()
            (await sources.prepare(project, spec, TOKEN)).release()
            then = time.time() - days * DAY
            os.utime(folder / project, (then, then))
        sources = Sources(folder, keep_days=30)
        sources.open()
        (await sources.prepare("used", spec, TOKEN)).release()
        assert {path.name for path in folder.iterdir()} == {"newer", "used"}
        assert sorted(sources.warm()) == ["newer", "used"]


def test_caches_that_no_attempt_used_for_long_go_unless_one_uses_them_now(tmp_path: Path) -> None:
    caches = HostCaches(tmp_path, keep_days=30)
    for name, days in (("old", 31), ("newer", 29), ("busy", 40)):
        caches.make(CacheMount(id=name, path="/x"), None)
        then = time.time() - days * DAY
        os.utime(tmp_path / name, (then, then))
    busy, mine = request_with("busy", tmp_path), request_with("newer", tmp_path)
    caches.borrow(busy)
    caches.borrow(mine)
    assert [path.name.split("-")[1] for path in caches.give_back(mine, succeeded=True)] == ["old"]
    assert (tmp_path / "busy").is_dir()
    going = caches.give_back(busy, succeeded=True)
    assert "busy" in [path.name.split("-")[1] for path in going]
    assert (tmp_path / "newer").is_dir()


def request_with(cache: str, folder: Path) -> StepRequest:
    return StepRequest(
        attempt_id="a",
        step_name="x",
        image=None,
        script="true",
        env={},
        timeout_seconds=10,
        outputs=folder,
        scratch=folder,
        cache_mounts=[CacheMount(id=cache, path="/x")],
    )
