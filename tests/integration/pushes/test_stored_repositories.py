"""A repository is in database and object store; a coordinator's disk is a cache of it."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any
from uuid import uuid4

import obstore
import pytest
from obstore.exceptions import GenericError
from obstore.store import ObjectStore

from coordinator.git import cache_folders
from coordinator.object_ports import PackDamaged
from coordinator.objects.packs import ObjectPackStore
from coordinator.objects.places import open_objects
from coordinator.objects.stores import open_store
from coordinator.storage.database import Database
from coordinator.storage.trouble import DatabaseTrouble, Trouble
from tests.empty_database import kept_by, put_empty_database
from tests.integration.coordinator_fixture import git, try_git
from tests.integration.pushes.stored_host import (
    Clone,
    Leader,
    cloned,
    first_clone,
    keys,
    leading,
    listing,
    new_clone,
)
from tests.integration.statements import collected

Lead = Callable[..., AbstractAsyncContextManager[Leader]]


@pytest.fixture(params=["sqlite-folder", "postgresql-s3"])
def places(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "sqlite-folder":
        yield "sqlite-folder"
        return
    with kept_by(request.getfixturevalue("postgres_server")):
        yield "postgresql-s3"


@pytest.fixture
async def database(places: str, tmp_path: Path) -> AsyncIterator[Database]:
    database = await Database.open(put_empty_database(tmp_path / "database"))
    yield database
    await database.close()


@pytest.fixture
def objects(places: str, request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if places == "sqlite-folder":
        return open_store(tmp_path / "objects")
    server = request.getfixturevalue("s3_server")
    return open_objects(server.place(tmp_path / "credentials", tmp_path.name))


@pytest.fixture
def packs(objects: ObjectStore) -> ObjectPackStore:
    return ObjectPackStore(objects)


@pytest.fixture
def lead(database: Database, packs: ObjectPackStore, tmp_path: Path) -> Lead:
    """One more coordinator, with what its folder has already."""

    def begin(name: str, **changed: Any) -> AbstractAsyncContextManager[Leader]:
        root = tmp_path / name / "repositories"
        root.mkdir(parents=True, exist_ok=True)
        return leading(root, database, **{"packs": packs, **changed})

    return begin


@pytest.fixture
async def clone(tmp_path: Path, lead: Lead) -> Clone:
    return await first_clone(tmp_path / "clone", lead("a"))


async def test_another_coordinator_serves_what_was_pushed_to_one(
    clone: Clone, lead: Lead, tmp_path: Path
) -> None:
    async with lead("a") as one:
        first = await clone.commit()
        await clone.push(one)
        await clone.git("tag", "-a", "v1", "-m", "first")
        await clone.git("branch", "side/deep")
        await clone.git("notes", "add", "-m", "a note")
        await clone.commit("second", b"x" * 300_000)
        await clone.push(
            one, "main", "v1", "side/deep", "refs/notes/commits", "HEAD:refs/pull/7/head"
        )
        assert await one.repositories.set_default_branch(clone.project_id, "side/deep")
        expected = await listing(one, clone.project_id)
        mirror = await cloned(one, clone.project_id, tmp_path / "mirror")
    async with lead("b") as other:
        assert await listing(other, clone.project_id) == expected
        assert "ref: refs/heads/side/deep\tHEAD" in expected
        assert await cloned(other, clone.project_id, tmp_path / "mirror") == mirror
        assert len(mirror.splitlines()) == 5
        assert await other.repositories.values_of_ref(
            clone.project_id, "refs/heads/main", None, await clone.git("rev-parse", "HEAD")
        ) == [first, await clone.git("rev-parse", "HEAD")]
        await clone.commit("third")
        await clone.push(other, "main", ":refs/heads/side/deep")
    async with lead("a") as one:
        after = await listing(one, clone.project_id)
        assert "side/deep" not in after.replace("ref: refs/heads/side/deep", "")
        assert await clone.git("rev-parse", "HEAD") in after


NOT_COUNTED = ("BEGIN", "COMMIT", "SELECT pg_current_xact_id")
"""What each transaction has, alone or with others."""


def counted(sent: list[tuple[str, Any]]) -> list[str]:
    return [text for text, _ in sent if not text.startswith(NOT_COUNTED)]


async def test_a_push_is_four_statements_and_one_put_more(
    clone: Clone, lead: Lead, objects: ObjectStore
) -> None:
    async with lead("a") as leader:
        await clone.commit()
        await clone.push(leader)
        before = await keys(objects)
        await clone.commit("second")
        with collected() as sent:
            await clone.push(leader)
        verbs = [text.split()[0] for text in counted(sent)]
        assert verbs == ["UPDATE", "INSERT", "INSERT", "INSERT"]
        assert len(await keys(objects) - before) == 1
        with collected() as sent:
            await listing(leader, clone.project_id)
            await leader.repositories.refs(clone.project_id)
            await leader.repositories.default_branch(clone.project_id)
        assert not sent
    async with lead("a") as leader:
        with collected() as sent:
            for _ in range(3):
                await listing(leader, clone.project_id)
        [text] = counted(sent)
        assert "stored_repositories.stamp" in text


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


DAMAGE: dict[str, Callable[[Path], object]] = {
    "no stamp": lambda path: (path / "pushrod-stamp").unlink(),
    "a torn pack": lambda path: (
        (path / "pushrod-stamp").unlink(),
        [
            pack.chmod(0o600) or pack.write_bytes(b"PACK")
            for pack in path.glob("objects/pack/*.pack")
        ],
    ),
    "no index": lambda path: (
        (path / "pushrod-stamp").unlink(),
        [index.unlink() for index in path.glob("objects/pack/*.idx")],
    ),
    "strays": lambda path: (
        (path / "pushrod-stamp").write_text("of yesterday"),
        (path / "refs" / "heads").mkdir(),
        (path / "refs" / "heads" / "stray").write_text("1" * 40 + "\n"),
        (path / "HEAD").write_text("ref: refs/heads/stray\n"),
        (path / "packed-refs.lock").touch(),
        (path / "objects" / "ab").mkdir(),
        (path / "objects" / "ab" / ("c" * 38)).write_bytes(b"torn"),
        (path / "objects" / "pack" / "tmp_pack_x").write_bytes(b"torn"),
    ),
    "no HEAD": lambda path: ((path / "pushrod-stamp").unlink(), (path / "HEAD").unlink()),
    "a torn config": lambda path: (
        (path / "pushrod-stamp").unlink(),
        (path / "config").write_text("[core"),
    ),
    "nothing": shutil.rmtree,
}


@pytest.mark.parametrize("damage", DAMAGE)
async def test_a_cache_that_a_kill_left_is_mended(
    damage: str, clone: Clone, lead: Lead, tmp_path: Path
) -> None:
    async with lead("a") as leader:
        await clone.commit()
        await clone.push(leader)
        await clone.commit("second")
        await clone.push(leader)
        expected = await listing(leader, clone.project_id)
        repository = leader.repository(clone.project_id)
    DAMAGE[damage](repository)
    async with lead("a") as leader:
        assert await listing(leader, clone.project_id) == expected
        await cloned(leader, clone.project_id, tmp_path / "mirror")
        await git(repository, "fsck", "--full", "--strict")
        assert not list(repository.glob("*.lock"))
        await clone.commit("third")
        await clone.push(leader)


async def test_whoever_takes_the_lead_fetches_nothing_to_know_the_refs(
    clone: Clone, lead: Lead
) -> None:
    async with lead("a") as leader:
        first = await clone.commit()
        await clone.push(leader)
    async with lead("b") as other:
        with collected() as sent:
            assert await other.repositories.refs(clone.project_id) == {"refs/heads/main": first}
            assert await other.repositories.default_branch(clone.project_id) == "main"
            assert await other.repositories.settle_default_branch(clone.project_id, {}) is None
        assert len(counted(sent)) == 3
        assert not other.repository(clone.project_id).exists()


async def test_a_pack_that_came_damaged_is_not_used(
    clone: Clone, lead: Lead, objects: ObjectStore
) -> None:
    async with lead("a") as leader:
        sha = await clone.commit()
        await clone.push(leader)
    [key] = await keys(objects)
    whole = bytes(await (await obstore.get_async(objects, key)).bytes_async())
    await obstore.put_async(objects, key, whole[:100] + b"?" + whole[101:])
    async with lead("b") as other:
        with pytest.raises(PackDamaged):
            await other.repositories.commit(clone.project_id, sha)
        await obstore.put_async(objects, key, whole)
        assert await other.repositories.commit(clone.project_id, sha)


async def test_files_and_heads_that_are_set_here_are_stored(
    clone: Clone, lead: Lead, tmp_path: Path
) -> None:
    async with lead("a") as leader:
        await clone.commit()
        await clone.push(leader, "main:trunk")
        assert await leader.repositories.settle_default_branch(clone.project_id, {}) == (
            "main",
            "trunk",
        )
        sha = await leader.repositories.store_files(
            clone.project_id, {"a/b": "content", "run": "#!/bin/sh"}, name="images/x", message="m"
        )
        loose = list((leader.repository(clone.project_id) / "objects").glob("??"))
        assert not loose
    async with lead("b") as other:
        assert await other.repositories.default_branch(clone.project_id) == "trunk"
        assert await other.repositories.files_at(clone.project_id, sha, ["a/b"]) == {
            "a/b": b"content"
        }
        assert "refs/pushrod" not in await listing(other, clone.project_id)


async def test_what_one_machine_had_is_stored_as_it_is(
    clone: Clone, lead: Lead, database: Database, tmp_path: Path
) -> None:
    from coordinator.git.repositories import HostedRepositories

    project_id = str(uuid4())
    root = tmp_path / "old" / "repositories"
    alone = HostedRepositories(root)
    await alone.create(project_id)
    path = root / f"{project_id}.git"
    first = await clone.commit()
    await clone.git("push", "-q", str(path), "main")
    second = await clone.commit("second")
    await clone.git("push", "-q", str(path), "main")
    async with lead("old") as leader:
        assert await leader.repositories.refs(project_id) == {"refs/heads/main": second}
    async with lead("new") as other:
        assert await other.repositories.values_of_ref(
            project_id, "refs/heads/main", None, second
        ) == [first, second]
        await cloned(other, project_id, tmp_path / "mirror")


async def test_a_removed_repository_leaves_nothing(
    clone: Clone, lead: Lead, objects: ObjectStore, database: Database
) -> None:
    async with lead("a") as leader:
        await clone.commit()
        await clone.push(leader)
        assert await keys(objects)
        assert await leader.repositories.remove(clone.project_id)
        assert not await keys(objects)
        assert not leader.repository(clone.project_id).exists()
    async with lead("b") as other:
        result = await try_git(clone.folder, "ls-remote", f"{other.url}/{clone.project_id}.git")
        assert result.exit_code != 0
