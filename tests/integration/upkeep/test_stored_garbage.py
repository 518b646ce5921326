"""Packs of repositories that are in the object store: made fewer, put aside, and deleted."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from obstore.store import ObjectStore

from coordinator.git.repositories import HostedRepositories
from coordinator.objects.packs import ObjectPackStore
from coordinator.objects.stores import open_store
from coordinator.ports import GarbageLeft
from coordinator.services.core import utc_now
from coordinator.storage.database import Database
from tests.empty_database import put_empty_database
from tests.integration.pushes.stored_host import Clone, Leader, cloned, first_clone, keys, leading

MONTH = timedelta(days=31)
Lead = Callable[..., AbstractAsyncContextManager[Leader]]


@pytest.fixture
async def database(each_database: None, tmp_path: Path) -> AsyncIterator[Database]:
    database = await Database.open(put_empty_database(tmp_path / "database"))
    yield database
    await database.close()


@pytest.fixture
def objects(tmp_path: Path) -> ObjectStore:
    return open_store(tmp_path / "objects")


@pytest.fixture
def lead(database: Database, objects: ObjectStore, tmp_path: Path) -> Lead:
    def begin(name: str, now: datetime | None = None) -> AbstractAsyncContextManager[Leader]:
        root = tmp_path / name / "repositories"
        root.mkdir(parents=True, exist_ok=True)
        return leading(root, database, ObjectPackStore(objects), now)

    return begin


@pytest.fixture
async def clone(tmp_path: Path, lead: Lead) -> Clone:
    return await first_clone(tmp_path / "clone", lead("a"))


def make_old(repository: Path) -> None:
    """All its objects came a month ago."""
    then = (utc_now() - MONTH).timestamp()
    for one in (repository / "objects" / "pack").iterdir():
        os.utime(one, (then, then))


def packs_in(repository: Path) -> set[str]:
    return {one.name for one in (repository / "objects" / "pack").glob("*.pack")}


async def test_small_packs_become_one_and_the_old_ones_stay_for_an_hour(
    clone: Clone, lead: Lead, objects: ObjectStore, tmp_path: Path
) -> None:
    async with lead("a") as leader:
        for _ in range(5):
            await clone.commit()
            await clone.push(leader)
        before = await keys(objects)
        mirror = await cloned(leader, clone.project_id, tmp_path / "mirror")
        await leader.repositories.tidy(clone.project_id)
        assert len(packs_in(leader.repository(clone.project_id))) == 1
        await leader.changes.delete_gone()
        assert before < await keys(objects)
        assert len(await keys(objects)) == len(before) + 1
        await clone.commit()
        await clone.push(leader)
    async with lead("a", utc_now() + timedelta(hours=2)) as leader:
        await leader.changes.delete_gone()
        assert len(await keys(objects)) == 2
        # There was nothing to do: nothing is written.
        await leader.repositories.tidy(clone.project_id)
        assert len(await keys(objects)) == 2
    async with lead("b") as other:
        assert await cloned(other, clone.project_id, tmp_path / "mirror") != mirror
        assert len(packs_in(other.repository(clone.project_id))) == 2


async def force_pushed(clone: Clone, leader: Leader) -> str:
    """A commit that nothing reaches any more."""
    await clone.commit()
    await clone.push(leader)
    lost = await clone.commit("lost")
    await clone.push(leader)
    await clone.git("reset", "-q", "--hard", "HEAD~1")
    await clone.commit("instead")
    await clone.push(leader, "+main")
    make_old(leader.repository(clone.project_id))
    return lost


async def has(repositories: HostedRepositories, clone: Clone, sha: str) -> bool:
    return await repositories.commit(clone.project_id, sha) is not None


async def test_garbage_is_put_aside_in_the_store_and_another_coordinator_brings_it_back(
    clone: Clone, lead: Lead, objects: ObjectStore, tmp_path: Path
) -> None:
    later = utc_now() + MONTH
    async with lead("a") as leader:
        lost = await force_pushed(clone, leader)
    async with lead("a", later) as leader:
        repositories = leader.repositories
        assert await repositories.collect_garbage(clone.project_id, [], later.timestamp())
        assert not await has(repositories, clone, lost)
        assert await repositories.garbage_bytes(clone.project_id) > 0
        assert await repositories.garbage_bytes(clone.project_id) < await repositories.size(
            clone.project_id
        )
    async with lead("b", later) as other:
        assert not await has(other.repositories, clone, lost)
        assert await other.repositories.restore_garbage(clone.project_id, [lost])
        assert await has(other.repositories, clone, lost)
        assert not await other.repositories.garbage_bytes(clone.project_id)
    async with lead("c", later) as third:
        assert await has(third.repositories, clone, lost)
        await cloned(third, clone.project_id, tmp_path / "mirror")


async def test_garbage_goes_after_a_week_from_the_store_as_well(
    clone: Clone, lead: Lead, objects: ObjectStore
) -> None:
    later = utc_now() + MONTH
    async with lead("a") as leader:
        lost = await force_pushed(clone, leader)
    async with lead("a", later) as leader:
        await leader.repositories.collect_garbage(clone.project_id, [], later.timestamp())
    week = later + timedelta(days=8)
    async with lead("b", week) as other:
        await other.repositories.collect_garbage(clone.project_id, [], week.timestamp())
        assert not await other.repositories.garbage_bytes(clone.project_id)
        assert not await other.repositories.restore_garbage(clone.project_id, [lost])
    async with lead("b", week + timedelta(hours=2)) as other:
        await other.changes.delete_gone()
        [_] = await keys(objects)


async def test_a_needed_commit_is_kept_by_a_ref_that_is_stored(clone: Clone, lead: Lead) -> None:
    later = utc_now() + MONTH
    async with lead("a") as leader:
        lost = await force_pushed(clone, leader)
    async with lead("a", later) as leader:
        await leader.repositories.collect_garbage(clone.project_id, [lost], later.timestamp())
    async with lead("b", later) as other:
        assert await has(other.repositories, clone, lost)
        # None is asked for any more: the ref goes, and with the next look the commit.
        for days in (1, 2):
            now = (later + timedelta(days=days)).timestamp()
            make_old(other.repository(clone.project_id))
            await other.repositories.collect_garbage(clone.project_id, [], now)
        assert not await has(other.repositories, clone, lost)


async def test_a_collection_is_left_where_a_push_came_meanwhile(
    clone: Clone, lead: Lead, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from coordinator.git import garbage

    later = utc_now() + MONTH
    collect = garbage.collect

    async def pushed_meanwhile(*args: Any, **kwargs: Any) -> int:
        size = await collect(*args, **kwargs)
        await clone.commit("meanwhile")
        await clone.push(leader)
        return size

    async with lead("a") as leader:
        lost = await force_pushed(clone, leader)
    async with lead("a", later) as leader:
        monkeypatch.setattr(garbage, "collect", pushed_meanwhile)
        with pytest.raises(GarbageLeft, match="changed meanwhile"):
            await leader.repositories.collect_garbage(clone.project_id, [], later.timestamp())
        assert await has(leader.repositories, clone, lost)
        await cloned(leader, clone.project_id, tmp_path / "mirror")


async def test_objects_of_changes_that_failed_go_after_a_day(
    clone: Clone, lead: Lead, database: Database, objects: ObjectStore
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    async with lead("a") as leader:
        await clone.commit()
        await clone.push(leader)
        known = await keys(objects)
        await clone.commit("second")
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(database, "write", fail)
            assert (await clone.try_push(leader)).exit_code == 1
        assert len(await keys(objects)) == 2
        await leader.changes.delete_strangers()
        assert len(await keys(objects)) == 2
    async with lead("a", utc_now() + timedelta(days=2)) as leader:
        await leader.changes.delete_strangers()
        assert await keys(objects) == known


async def test_what_branches_were_weeks_ago_is_forgotten(clone: Clone, lead: Lead) -> None:
    async with lead("a") as leader:
        await clone.commit()
        await clone.push(leader)
        second = await clone.commit("second")
        await clone.push(leader)
        asked = (clone.project_id, "refs/heads/main", None, second)
        assert len(await leader.repositories.values_of_ref(*asked)) == 2
        later = (utc_now() + MONTH).timestamp()
        await leader.repositories.collect_garbage(clone.project_id, [], later)
        assert await leader.repositories.values_of_ref(*asked) == [second]
    async with lead("b") as other:
        assert await other.repositories.values_of_ref(*asked) == [second]
