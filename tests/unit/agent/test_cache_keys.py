"""Caches that are one for each content of some files."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.cache_keys import KEPT, CacheKeys
from agent.engines.protocol import CacheMount
from pipelines_schema.contract import CacheDir

OWN, MAIN = "a" * 40, "b" * 40


@pytest.fixture
def keys(tmp_path: Path) -> CacheKeys:
    return CacheKeys(tmp_path / "keys")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "tree" / "web").mkdir(parents=True)
    (tmp_path / "tree" / "web" / "x.lock").write_text("1")
    return tmp_path / "tree"


def cache(*key: str, begins_as: str | None = None, replaces: str | None = None) -> CacheDir:
    others = [begins_as] if begins_as else []
    return CacheDir(path="~/c", id=OWN, key=list(key), begins_as=others, replaces=replaces)


def one(keys: CacheKeys, wanted: CacheDir, source: Path | None) -> CacheMount:
    [mount] = keys.mounts([wanted], source)
    return mount


def run(keys: CacheKeys, wanted: CacheDir, source: Path) -> CacheMount:
    mount = one(keys, wanted, source)
    keys.succeeded([wanted], [mount])
    return mount


@pytest.mark.parametrize("key", ["web/x.lock", "**/*.lock"])
def test_an_identity_is_that_of_the_files_names_and_contents(
    keys: CacheKeys, source: Path, key: str
) -> None:
    first = one(keys, cache(key), source)
    (source / "other").write_text("changes")
    assert one(keys, cache(key), source) == first
    (source / "web" / "x.lock").write_text("2")
    second = one(keys, cache(key), source)
    (source / "web" / "x.lock").unlink()
    without = one(keys, cache(key), source)
    (source / "web" / "x.lock").symlink_to("../other")
    linked = one(keys, cache(key), source)
    assert len({mount.id for mount in (first, second, without, linked)}) == 4
    assert all(mount.id.startswith(f"{OWN}-") for mount in (first, second, without, linked))


def test_a_name_counts_as_well_as_a_content(keys: CacheKeys, source: Path) -> None:
    before = one(keys, cache("**/*.lock"), source)
    (source / "web" / "x.lock").rename(source / "web" / "y.lock")
    assert one(keys, cache("**/*.lock"), source).id != before.id


def test_a_new_one_begins_as_the_newest_that_a_step_has_filled(
    keys: CacheKeys, source: Path, tmp_path: Path
) -> None:
    lock = source / "web" / "x.lock"
    first = run(keys, cache("web/x.lock"), source)
    lock.write_text("2")
    failed = one(keys, cache("web/x.lock"), source)
    lock.write_text("3")
    third = one(CacheKeys(tmp_path / "keys"), cache("web/x.lock"), source)
    assert failed.begins_as == third.begins_as == [first.id]
    lock.write_text("1")
    assert one(keys, cache("web/x.lock"), source).begins_as == []


def test_another_branchs_is_the_same_content_or_its_newest(keys: CacheKeys, source: Path) -> None:
    of_main = CacheDir(path="~/c", id=MAIN, key=["web/x.lock"])
    newest = run(keys, of_main, source)
    (source / "web" / "x.lock").write_text("2")
    mount = one(keys, cache("web/x.lock", begins_as=MAIN), source)
    word = mount.id.removeprefix(f"{OWN}-")
    assert mount.begins_as == [f"{MAIN}-{word}", newest.id]


def test_the_oldest_go_after_some_contents(keys: CacheKeys, source: Path) -> None:
    mounts = []
    for number in range(KEPT + 1):
        (source / "web" / "x.lock").write_text(str(number))
        mounts.append(run(keys, cache("web/x.lock"), source))
    assert [mount.outlived for mount in mounts] == [[]] * KEPT + [[mounts[0].id]]


def test_one_that_was_replaced_was_of_the_same_content(keys: CacheKeys, source: Path) -> None:
    mount = one(keys, cache("web/x.lock", replaces=MAIN), source)
    assert mount.replaces == mount.id.replace(OWN, MAIN)


def test_what_has_no_key_is_as_the_coordinator_says(keys: CacheKeys) -> None:
    told = cache(begins_as=MAIN, replaces="c")
    assert one(keys, told, None) == CacheMount(id=OWN, path="~/c", replaces="c", begins_as=[MAIN])


def test_a_damaged_memory_is_none(keys: CacheKeys, source: Path, tmp_path: Path) -> None:
    run(keys, cache("web/x.lock"), source)
    (tmp_path / "keys" / OWN).write_text("{")
    (source / "web" / "x.lock").write_text("2")
    assert one(keys, cache("web/x.lock"), source).begins_as == []
