"""A push is stored whole or refused, whoever dies, fails or comes between."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from obstore.exceptions import GenericError
from obstore.store import ObjectStore

from coordinator.git import cache_folders
from coordinator.objects.packs import ObjectPackStore
from coordinator.storage.database import Database
from coordinator.storage.trouble import DatabaseTrouble, Trouble
from tests.integration.pushes.stored_host import Clone, Lead, cloned, new_clone

POINTS = ["received", "uploaded", "committed", "half-applied"]


@pytest.mark.parametrize("point", POINTS)
async def test_a_push_is_everywhere_or_nowhere_wherever_the_leader_dies(
    point: str,
    clone: Clone,
    lead: Lead,
    database: Database,
    packs: ObjectPackStore,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Dead is one whose process goes no further and answers nobody."""
    died = asyncio.Event()
    forever = asyncio.Event()

    async def stand_still(*_: object, **__: object) -> None:
        died.set()
        await forever.wait()
        raise OSError("it is dead")

    async with lead("a") as leader:
        first = await clone.commit()
        await clone.push(leader)
        second = await clone.commit("second")
        put, write, apply = packs.put, database.write, cache_folders.apply
        if point == "received":
            monkeypatch.setattr(packs, "put", stand_still)
        elif point == "uploaded":
            monkeypatch.setattr(database, "write", stand_still)
        elif point == "committed":

            async def committed(*args: Any, **kwargs: Any) -> None:
                await write(*args, **kwargs)
                await stand_still()

            monkeypatch.setattr(database, "write", committed)
        else:

            def half(repository: Path, draft: Any, change: Any, *_: object) -> None:
                for pack in change.new_packs:
                    source = draft.path / "objects" / "pack" / pack.name
                    shutil.copy(source.with_suffix(".idx"), repository / "objects" / "pack")
                loop.call_soon_threadsafe(died.set)
                asyncio.run_coroutine_threadsafe(forever.wait(), loop).result()

            loop = asyncio.get_running_loop()
            monkeypatch.setattr(cache_folders, "apply", half)
        pushing = asyncio.create_task(clone.try_push(leader))
        await died.wait()
        # What it left on its disk, in the middle.
        shutil.copytree(leader.root, tmp_path / "left" / "repositories", symlinks=True)
        monkeypatch.setattr(packs, "put", put)
        monkeypatch.setattr(database, "write", write)
        monkeypatch.setattr(cache_folders, "apply", apply)

        stored = second if point in ("committed", "half-applied") else first
        for name in ("left", "b"):
            async with lead(name) as other:
                assert (await other.repositories.refs(clone.project_id)) == {
                    "refs/heads/main": stored
                }
                assert stored in await cloned(other, clone.project_id, tmp_path / "mirror")
        assert not pushing.done()
        forever.set()
        await pushing


@pytest.mark.parametrize("broken", ["store", "database"])
async def test_a_push_that_can_not_be_stored_is_refused_and_moves_nothing(
    broken: str,
    clone: Clone,
    lead: Lead,
    database: Database,
    packs: ObjectPackStore,
    monkeypatch: pytest.MonkeyPatch,
    objects: ObjectStore,
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise GenericError("the store is away") if broken == "store" else OSError(28, "full")

    async with lead("a") as leader:
        first = await clone.commit()
        await clone.push(leader)
        second = await clone.commit("second")
        with monkeypatch.context() as patched:
            patched.setattr(*((packs, "put") if broken == "store" else (database, "write")), fail)
            result = await clone.try_push(leader)
        assert result.exit_code == 1
        trouble = Trouble.OBJECTS if broken == "store" else Trouble.DISK_FULL
        assert f"(it could not be stored, push again later: {trouble})" in result.errors
        assert await leader.repositories.refs(clone.project_id) == {"refs/heads/main": first}
        assert leader.received[-1] == {"refs/heads/main": first}
        assert not list(leader.root.glob(".changing-*"))
        await clone.push(leader)
        assert leader.received[-1] == {"refs/heads/main": second}


@pytest.mark.parametrize("lost", ["the answer to the commit", "the disk of the cache"])
async def test_a_push_that_was_stored_is_not_refused_for_what_fails_after_that(
    lost: str, clone: Clone, lead: Lead, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = database.write

    async def committed(*args: Any) -> None:
        await write(*args)
        raise DatabaseTrouble(Trouble.DATABASE_UNKNOWN)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    async with lead("a") as leader:
        await clone.commit()
        await clone.push(leader)
        second = await clone.commit("second")
        with monkeypatch.context() as patched:
            if lost == "the answer to the commit":
                patched.setattr(database, "write", committed)
            else:
                patched.setattr(cache_folders, "apply", full)
            await clone.push(leader)
        assert leader.received[-1] == {"refs/heads/main": second}
        assert await leader.repositories.commit(clone.project_id, second) is not None


async def test_a_stale_leader_is_refused_and_catches_up(
    clone: Clone, lead: Lead, tmp_path: Path
) -> None:
    async with lead("a") as stale, lead("b") as leader:
        first = await clone.commit()
        await clone.push(stale)
        other = await new_clone(tmp_path / "other", clone.project_id)
        await other.git("pull", "-q", f"{stale.url}/{clone.project_id}.git", "main")
        second = await other.commit("others")
        await other.push(leader)

        await clone.commit("mine")
        result = await clone.try_push(stale)
        assert result.exit_code == 1
        assert (
            "(another coordinator has changed it meanwhile: fetch, and push again)" in result.errors
        )
        assert first != second
        for one in (stale, leader):
            assert await one.repositories.refs(clone.project_id) == {"refs/heads/main": second}
        assert "rejected" in (await clone.try_push(stale)).errors


def _two_at_once(put: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Each waits until the other has come as far."""
    both = asyncio.Barrier(2)

    async def together(*args: Any) -> Any:
        await both.wait()
        return await put(*args)

    return together


async def test_two_pushes_at_once_to_two_branches_are_both_kept(
    clone: Clone, lead: Lead, packs: ObjectPackStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither waits for the other's bytes."""
    async with lead("a") as leader:
        main = await clone.commit()
        await clone.push(leader)
        monkeypatch.setattr(packs, "put", _two_at_once(packs.put))
        await clone.git("checkout", "-q", "-b", "one")
        one = await clone.commit("one")
        await clone.git("checkout", "-q", "-b", "two", "main")
        two = await clone.commit("two")
        async with asyncio.timeout(60):
            await asyncio.gather(clone.push(leader, "one"), clone.push(leader, "two"))
        assert await leader.repositories.refs(clone.project_id) == {
            "refs/heads/main": main,
            "refs/heads/one": one,
            "refs/heads/two": two,
        }


async def test_of_two_pushes_at_once_to_one_branch_one_is_refused(
    clone: Clone, lead: Lead, packs: ObjectPackStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with lead("a") as leader:
        await clone.commit()
        await clone.push(leader)
        monkeypatch.setattr(packs, "put", _two_at_once(packs.put))
        await clone.git("checkout", "-q", "-b", "one")
        one = await clone.commit("one")
        await clone.git("checkout", "-q", "-b", "two", "main")
        two = await clone.commit("two")
        async with asyncio.timeout(60):
            results = await asyncio.gather(
                clone.try_push(leader, "one:main"), clone.try_push(leader, "two:main")
            )
        assert sorted(result.exit_code for result in results) == [0, 1]
        [refused] = [result for result in results if result.exit_code]
        assert "was moved by another push meanwhile: fetch" in refused.errors
        won = one if results[0].exit_code == 0 else two
        assert (await leader.repositories.refs(clone.project_id))["refs/heads/main"] == won


async def test_a_push_to_what_is_deleted_meanwhile_is_refused(
    clone: Clone, lead: Lead, packs: ObjectPackStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = packs.put

    async def deleted_meanwhile(*args: Any) -> Any:
        stored = await put(*args)
        await leader.repositories.remove(clone.project_id)
        return stored

    async with lead("a") as leader:
        await clone.commit()
        monkeypatch.setattr(packs, "put", deleted_meanwhile)
        result = await clone.try_push(leader)
        assert result.exit_code == 1
        assert "(it was deleted meanwhile)" in result.errors


async def test_a_push_is_built_though_its_client_has_gone(
    clone: Clone, lead: Lead, packs: ObjectPackStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is told to be built is what was stored, and not what was before."""
    put = packs.put
    uploading, goes_on = asyncio.Event(), asyncio.Event()

    async def slowly(*args: Any) -> Any:
        uploading.set()
        await goes_on.wait()
        return await put(*args)

    async with lead("a") as leader:
        sha = await clone.commit()
        monkeypatch.setattr(packs, "put", slowly)
        changing = leader.changes.changing(clone.project_id)

        async def push() -> None:
            try:
                async with changing as draft:
                    await clone.git("push", "-q", str(draft.path), "main")
            finally:
                told.append(await leader.repositories.refs(clone.project_id))

        told: list[Any] = []
        pushing = asyncio.create_task(push())
        await uploading.wait()
        pushing.cancel()
        await asyncio.sleep(0)
        goes_on.set()
        with pytest.raises(asyncio.CancelledError):
            await pushing
        assert told == [{"refs/heads/main": sha}]
