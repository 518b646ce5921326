"""A full disk at each place of an agent: what the step says, and that the next one runs.

Its log's disk is in test_agent_journal.py, an agent that takes no work in test_agent_disks.py, an
engine's in test_buildkit_full_disk.py.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pipelines_schema.contract import Completion
from tests.integration.agent_bench import Bench, ended, open_bench
from tests.integration.fake_coordinator import Step
from tests.integration.small_disks import MIB, filled, small_disk

FULL = "No space left on device"


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with open_bench() as bench:
        bench.make_repository()
        (bench.root / "clone" / "large").write_bytes(os.urandom(MIB))
        yield bench


@asynccontextmanager
async def agent_of(bench: Bench) -> AsyncIterator[None]:
    """Without a floor: it takes work whatever room there is."""
    agent = bench.new_agent(min_free_bytes=0)
    running = asyncio.create_task(agent.run())
    try:
        yield
    finally:
        agent.begin_drain()
        await asyncio.wait_for(running, 60)


def words_of(step: Step) -> str:
    assert step.completion is not None
    return f"{step.completion.message} {bytes(step.log).decode()}"


async def fails_then_succeeds(
    bench: Bench, disk: Path, script: str, *, but: int = 200_000, **spec: object
) -> str:
    """What the step says while the disk is full; once there is room, it succeeds."""
    with filled(disk, but=but):
        step = await ended(bench.coordinator.add_step(script, **spec))
        assert step.completion is not None
        assert step.completion.status is Completion.FAILED
    again = await ended(bench.coordinator.add_step(script, **spec))
    assert again.completion is not None
    assert again.completion.status is Completion.SUCCESS, words_of(again)
    return words_of(step)


async def test_a_workspace_without_room_for_the_source_says_so(bench: Bench) -> None:
    source = bench.source(bench.commit())
    with small_disk(bench.work) as disk:
        async with agent_of(bench):
            words = await fails_then_succeeds(bench, disk, "test -s large", source=source)
    assert FULL in words


async def test_a_script_that_fills_its_workspace_fails_by_itself(bench: Bench) -> None:
    with small_disk(bench.work) as disk:
        async with agent_of(bench):
            words = await fails_then_succeeds(bench, disk, "head -c 1000000 /dev/zero > file")
    assert FULL in words


async def test_a_cache_without_room_fails_the_step_by_its_own_words(bench: Bench) -> None:
    script = "head -c 1000000 /dev/zero > ~/.cache/kept/file"
    caches = [{"path": "~/.cache/kept", "id": "kept"}]
    with small_disk(bench.work / "caches") as disk:
        async with agent_of(bench):
            words = await fails_then_succeeds(bench, disk, script, cache_dirs=caches)
    assert FULL in words


async def test_a_mirror_without_room_fails_the_step_and_is_whole_afterwards(bench: Bench) -> None:
    source = bench.source(bench.commit())
    with small_disk(bench.data / "sources") as disk:
        async with agent_of(bench):
            words = await fails_then_succeeds(bench, disk, "test -s large", source=source)
    assert FULL in words


@pytest.mark.parametrize("but", [0, 16_384])
async def test_a_mirror_that_can_t_even_be_made_is_told_in_words(bench: Bench, but: int) -> None:
    source = bench.source(bench.commit())
    with small_disk(bench.data / "sources") as disk:
        async with agent_of(bench):
            words = await fails_then_succeeds(bench, disk, "test -s large", but=but, source=source)
    assert FULL in words
    assert "can't be fetched" in words


async def test_outputs_without_room_fail_the_step_by_name(bench: Bench) -> None:
    script = "head -c 1000000 /dev/zero > out"
    with small_disk(bench.data) as disk:
        async with agent_of(bench):
            words = await fails_then_succeeds(bench, disk, script, outputPaths=["out"])
    assert FULL in words


async def test_inputs_without_room_fail_the_step_by_name(bench: Bench) -> None:
    blob = bench.coordinator.add_blob("input", os.urandom(MIB))
    needs = [{"stepId": "1", "name": "before", "artifacts": [blob]}]
    with small_disk(bench.data) as disk:
        async with agent_of(bench):
            words = await fails_then_succeeds(bench, disk, "test -s input", dependencies=needs)
    assert FULL in words
