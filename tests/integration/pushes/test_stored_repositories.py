"""A repository is in database and object store; a coordinator's disk is a cache of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import obstore
import pytest
from obstore.store import ObjectStore

from coordinator.object_ports import PackDamaged
from coordinator.storage.database import Database
from tests.integration.coordinator_fixture import git, try_git
from tests.integration.pushes.stored_host import Clone, Lead, cloned, keys, listing
from tests.integration.statements import collected


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
