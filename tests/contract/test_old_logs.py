"""Logs that an earlier version wrote, in every state it could leave them."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import obstore
import pytest
from obstore.store import MemoryStore, ObjectStore

from coordinator.object_ports import LogClosed, LogDigest, LogTails
from coordinator.objects.logs import ObjectLogStore
from coordinator.objects.places import open_objects
from pipelines_schema.log_frames import Frame, Stream
from tests.database_tails import open_tails
from tests.empty_objects import objects_of
from tests.old_logs import STAGES, write_old_log

ATTEMPT = "0b8f4f3c-6a55-4d8e-9c8a-1f2e3d4c5b6a-1"
CHUNKS = [
    [
        Frame(stream=Stream(1 + number % 2), time_ms=number, data=b"line %d\n" % number)
        for number in range(start, start + 1500)
    ]
    for start in (0, 1500, 3000)
]
FRAMES = [frame for chunk in CHUNKS for frame in chunk]
TEXT = b"".join(frame.data for frame in FRAMES)
DIGEST = LogDigest(size=len(TEXT), sha256=hashlib.sha256(TEXT).hexdigest())


@pytest.fixture
def objects(each_storage: str, tmp_path: Path) -> ObjectStore:
    return MemoryStore() if each_storage == "here" else open_objects(objects_of(tmp_path))


@pytest.fixture
async def tails(objects: ObjectStore, tmp_path: Path) -> AsyncIterator[LogTails]:
    async with open_tails(tmp_path / "database") as tails:
        yield tails


async def keys(objects: ObjectStore) -> list[str]:
    found = await obstore.list(objects, "logs").collect_async()
    return sorted(entry["path"].rpartition("/")[2] for entry in found)


async def check(logs: ObjectLogStore) -> None:
    assert await logs.digest(ATTEMPT) == DIGEST
    for start, size in [(0, len(TEXT)), (5, 3), (10_000, 20_000), (len(TEXT) - 3, 9)]:
        assert await logs.read(ATTEMPT, start, size) == TEXT[start : start + size]
        lines = await logs.frames(ATTEMPT, start, size)
        assert b"".join(line.frame.data for line in lines) == TEXT[start : start + size]
    whole = await logs.frames(ATTEMPT, 0, len(TEXT))
    assert [line.frame for line in whole] == FRAMES
    assert (await logs.lines(ATTEMPT, 3100, 2, 1000)).data == b"line 3100\nline 3101\n"
    assert (await logs.lines(ATTEMPT, 4500, 2, 1000)).data == b""


@pytest.mark.parametrize("stage", STAGES)
async def test_an_old_log_reads_as_ever(stage: str, objects: ObjectStore, tails: LogTails) -> None:
    await write_old_log(objects, ATTEMPT, CHUNKS, stage)
    before = await keys(objects)
    await check(ObjectLogStore(objects, tails))
    assert await keys(objects) == before


@pytest.mark.parametrize("stage", STAGES)
async def test_an_old_log_is_closed_and_deleted(
    stage: str, objects: ObjectStore, tails: LogTails
) -> None:
    await write_old_log(objects, ATTEMPT, CHUNKS, stage)
    logs = ObjectLogStore(objects, tails)
    stored = await logs.close(ATTEMPT)
    await logs.forget_tail(ATTEMPT)
    for one in (logs, ObjectLogStore(objects, tails)):
        await check(one)
        with pytest.raises(LogClosed):
            await one.append(ATTEMPT, len(TEXT), FRAMES[:1])
    if not stage.startswith("folded"):
        assert await keys(objects) == ["log.zst"]
        length = (await obstore.head_async(objects, f"logs/{ATTEMPT}/log.zst"))["size"]
        assert stored == length < len(TEXT) / 4
    await ObjectLogStore(objects, tails).delete(ATTEMPT)
    assert await keys(objects) == []


async def test_an_old_log_goes_on_where_it_was(objects: ObjectStore, tails: LogTails) -> None:
    await write_old_log(objects, ATTEMPT, CHUNKS[:2], "open")
    begun = sum(len(frame.data) for chunk in CHUNKS[:2] for frame in chunk)
    logs = ObjectLogStore(objects, tails)
    for frame in CHUNKS[2]:
        begun = await logs.append(ATTEMPT, begun, [frame])
    await check(logs)
    await check(ObjectLogStore(objects, tails))
    await logs.close(ATTEMPT)
    await check(ObjectLogStore(objects, tails))
    assert await keys(objects) == ["log.zst"]
