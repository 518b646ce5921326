"""The daemon dies, hangs and comes back under running steps: an engine of these tests' own."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.engines.buildkit import build
from agent.engines.private import EnginePlaces, down, engine_places, ensure_test_image, up
from agent.engines.private.record import read_record
from agent.engines.protocol import Outcome

from .conftest import TestEngine, bench_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import Marker

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(os.geteuid() != 0, reason="the private engine needs root"),
]


@pytest.fixture(scope="module")
def places() -> Iterator[EnginePlaces]:
    folder = Path(tempfile.mkdtemp(prefix="pushrod-"))  # short: sockets lie in it
    own = EnginePlaces(data=folder, runtime=folder / "run", packages=engine_places().packages)
    try:
        yield own
    finally:
        asyncio.run(down(places=own))
        shutil.rmtree(folder)


async def started(places: EnginePlaces) -> TestEngine:
    address = await up(reuse=False, places=places)
    image = await ensure_test_image(address=address, places=places)
    return TestEngine(address=address.url, image=image, lifted=True)


def daemon_of(places: EnginePlaces) -> int:
    record = read_record(places.record)
    assert record is not None
    return record.daemon.pid
