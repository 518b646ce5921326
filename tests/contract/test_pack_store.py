"""One suite over every implementation of object_ports.PackStore."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import obstore
import pytest
from obstore.store import ObjectStore

from coordinator.object_ports import PackDamaged
from coordinator.objects.packs import PART_BYTES, ObjectPackStore

PROJECT = "5f0c8d7e-93d1-4b53-9a51-0d2f4b6a8c11"
OTHER = "7a1b2c3d-93d1-4b53-9a51-0d2f4b6a8c12"


@pytest.fixture
def packs(objects: ObjectStore) -> ObjectPackStore:
    return ObjectPackStore(objects)


def two_files(folder: Path, pack_bytes: int, index_bytes: int) -> tuple[Path, Path]:
    numbers = random.Random(pack_bytes)
    for name, size in (("pack", pack_bytes), ("index", index_bytes)):
        (folder / name).write_bytes(numbers.randbytes(size))
    return folder / "pack", folder / "index"


@pytest.mark.parametrize("size", [1, 300_000, PART_BYTES, 3 * PART_BYTES + 5])
async def test_a_pack_and_its_index_come_back(
    packs: ObjectPackStore, tmp_path: Path, size: int
) -> None:
    pack, index = two_files(tmp_path, size, 1000)
    stored = await packs.put(PROJECT, pack, index)
    assert (stored.pack_bytes, stored.index_bytes) == (size, 1000)
    await packs.get(stored, tmp_path / "pack-again", tmp_path / "index-again")
    assert (tmp_path / "pack-again").read_bytes() == pack.read_bytes()
    assert (tmp_path / "index-again").read_bytes() == index.read_bytes()


async def test_the_same_pack_has_another_key_each_time(
    packs: ObjectPackStore, objects: ObjectStore, tmp_path: Path
) -> None:
    """What is deleted is none that somebody has stored since."""
    files = two_files(tmp_path, 100, 100)
    one, other = await packs.put(PROJECT, *files), await packs.put(PROJECT, *files)
    assert one.object != other.object
    await packs.delete([one.object, one.object])
    with pytest.raises(KeyError):
        await packs.get(one, tmp_path / "a", tmp_path / "b")
    await packs.get(other, tmp_path / "a", tmp_path / "b")


async def test_what_is_not_what_was_put_is_told(
    packs: ObjectPackStore, objects: ObjectStore, tmp_path: Path
) -> None:
    stored = await packs.put(PROJECT, *two_files(tmp_path, 100, 100))
    for wrong in (replace(stored, sha256="0" * 64), replace(stored, index_bytes=99)):
        with pytest.raises(PackDamaged):
            await packs.get(wrong, tmp_path / "a", tmp_path / "b")
    await obstore.put_async(objects, stored.object, b"short")
    with pytest.raises(PackDamaged):
        await packs.get(stored, tmp_path / "a", tmp_path / "b")


async def test_objects_are_listed_with_their_project_and_time(
    packs: ObjectPackStore, tmp_path: Path
) -> None:
    files = two_files(tmp_path, 100, 100)
    mine, others = await packs.put(PROJECT, *files), await packs.put(OTHER, *files)
    found = {key: project async for project, key, _ in packs.listed(None)}
    assert found == {mine.object: PROJECT, others.object: OTHER}
    [(project, key, came)] = [one async for one in packs.listed(OTHER)]
    assert (project, key) == (OTHER, others.object)
    assert abs(datetime.now(UTC) - came) < timedelta(minutes=5)
