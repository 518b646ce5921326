"""The engine's disk is full: on an engine of this test's own."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.engines.private import EnginePlaces, down, engine_places
from agent.engines.protocol import Outcome
from tests.integration.small_disks import filled, small_disk

from .conftest import OwnEngine, bench_of

pytestmark = pytest.mark.engine

FIVE_MEGABYTES = "head -c 5000000 /dev/zero > file"


@pytest.fixture
def small_engine() -> Iterator[OwnEngine]:
    """Its root file system, images and snapshots are on a disk of their own."""
    folder = Path(tempfile.mkdtemp(prefix="pushrod-"))  # short: sockets lie in it
    with small_disk(folder, mib=500):
        places = EnginePlaces(
            data=folder, runtime=folder / "run", packages=engine_places().packages
        )
        try:
            yield OwnEngine(places=places)
        finally:
            asyncio.run(down(places=places))
    folder.rmdir()


async def test_a_full_disk_of_the_engine_fails_the_step_in_words_and_the_next_one_runs(
    small_engine: OwnEngine, tmp_path: Path
) -> None:
    engine = await small_engine.start()
    async with bench_of(engine, tmp_path, trusted=True) as bench:
        with filled(small_engine.places.data):
            ran = await bench.run(FIVE_MEGABYTES)
        assert ran.result.outcome is Outcome.ENGINE_FAILED
        assert "the engine's disk is full: free space" in (ran.result.message or "")
        with filled(small_engine.places.data, but=2_000_000):
            ran = await bench.run(FIVE_MEGABYTES)
        assert (ran.result.exit_code or 1) != 0
        assert ran.log.stdout.startswith(b"head: ")
        again = await bench.run(FIVE_MEGABYTES)
        assert (again.result.outcome, again.result.exit_code) == (Outcome.EXITED, 0)
