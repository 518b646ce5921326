"""Whose user id is whose."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agent.engines.user_ids import NoFreeUserIdError, UserIds
from agent.engines.work_folder import WorkFolder

# No process of this machine has one of these.
IDS = range(4_000_000_001, 4_000_000_004)


def users(tmp_path: Path, agent: str = "agent", ids: range = IDS) -> UserIds:
    work_dir = tmp_path / agent
    work_dir.mkdir(exist_ok=True)
    return UserIds(table=tmp_path / "users" / "user-ids.json", work_dir=work_dir, ids=ids)


def used_once(one: UserIds, name: str) -> int:
    one.hold(name)
    try:
        return one.allot(name, lambda _: True)
    finally:
        one.let_go(name)


def test_a_project_keeps_its_id_after_a_restart_and_others_get_others(tmp_path: Path) -> None:
    first, fork = used_once(users(tmp_path), "one"), used_once(users(tmp_path), "one/fork")
    assert first != fork
    assert used_once(users(tmp_path), "one") == first
    assert {first, fork} <= set(IDS)


def test_two_agents_never_share_an_id_not_even_for_one_name(tmp_path: Path) -> None:
    assert used_once(users(tmp_path, "a"), "one") != used_once(users(tmp_path, "b"), "one")


def test_agents_that_ask_at_once_get_different_ids(tmp_path: Path) -> None:
    many = range(4_000_000_001, 4_000_000_101)
    agents = [users(tmp_path, f"agent-{number}", many) for number in range(20)]
    with ThreadPoolExecutor(10) as pool:
        found = list(pool.map(lambda one: used_once(one, "project"), agents))
    assert len(set(found)) == len(agents)


def test_the_longest_idle_project_gives_its_id_up_once_its_files_are_gone(tmp_path: Path) -> None:
    one = users(tmp_path)
    ids = {name: used_once(one, name) for name in "abc"}
    used_once(one, "a")
    cleared: list[int] = []

    def clear(uid: int) -> bool:
        cleared.append(uid)
        return True

    one.hold("d")
    assert one.allot("d", clear) == ids["b"]
    assert cleared == [ids["b"]]


def test_after_a_restart_the_longest_idle_project_is_that_of_before(tmp_path: Path) -> None:
    ids = {name: used_once(users(tmp_path), name) for name in "abc"}
    one = users(tmp_path)
    used_once(one, "a")
    assert [used_once(one, name) for name in "def"] == [ids["b"], ids["c"], ids["a"]]


def test_an_id_is_not_given_up_by_what_runs_or_is_not_cleaned_up(tmp_path: Path) -> None:
    one = users(tmp_path)
    for name in "abcd":
        one.hold(name)
    held = [one.allot(name, lambda _: True) for name in "abc"]
    with pytest.raises(NoFreeUserIdError, match="all 3 ids, 4000000001 to 4000000003"):
        one.allot("d", lambda _: True)
    one.let_go("b")
    with pytest.raises(NoFreeUserIdError):
        one.allot("d", lambda _: False)
    assert one.allot("d", lambda _: True) == held[1]


def test_an_agents_ids_are_another_agents_only_after_its_folder_has_gone(tmp_path: Path) -> None:
    away = users(tmp_path, "away")
    for name in "abc":
        used_once(away, name)
    with pytest.raises(NoFreeUserIdError):
        used_once(users(tmp_path), "d")
    (tmp_path / "away").rmdir()
    assert used_once(users(tmp_path), "d") in IDS


def test_an_agents_ids_are_another_agents_once_its_data_folder_has_gone(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    away = WorkFolder(tmp_path / "away", data_dir=data_dir, others_pass=True)
    away.make()
    for name in "abc":
        used_once(users(tmp_path, "away"), name)
    (away.caches / "of-a").mkdir()
    away.close()
    with pytest.raises(NoFreeUserIdError):
        used_once(users(tmp_path), "d")
    data_dir.rmdir()
    assert [used_once(users(tmp_path), name) in IDS for name in "def"] == [True] * 3
    assert not away.path.exists()


def test_only_root_reads_who_has_which_id(tmp_path: Path) -> None:
    used_once(users(tmp_path), "one")
    assert (tmp_path / "users").stat().st_mode & 0o777 == 0o700


def test_a_broken_table_is_an_error_and_not_a_new_beginning(tmp_path: Path) -> None:
    used_once(users(tmp_path), "one")
    (tmp_path / "users" / "user-ids.json").write_text("{")
    with pytest.raises(OSError, match="stop the agents of this machine"):
        used_once(users(tmp_path), "one")


@pytest.mark.parametrize("ids", [range(0), range(3)])
def test_ids_without_root(tmp_path: Path, ids: range) -> None:
    with pytest.raises(ValueError, match="never run as root"):
        users(tmp_path, ids=ids)


def test_an_id_that_is_known_is_had_without_touching_the_table(tmp_path: Path) -> None:
    one = users(tmp_path)
    first = used_once(one, "one")
    table = tmp_path / "users" / "user-ids.json"
    before = table.stat().st_mtime_ns, table.stat().st_ino
    assert used_once(one, "one") == first
    assert (table.stat().st_mtime_ns, table.stat().st_ino) == before


def test_an_id_that_became_anothers_is_not_used_any_more(tmp_path: Path) -> None:
    """As an agent's whose work folder was removed under it."""
    away = users(tmp_path, "away")
    first = used_once(away, "one")
    (tmp_path / "away").rmdir()
    others = users(tmp_path, "other")
    taken = {used_once(others, name) for name in "abc"}
    assert first in taken
    (tmp_path / "away").mkdir()
    with pytest.raises(NoFreeUserIdError):
        used_once(away, "one")
    (tmp_path / "other").rmdir()
    again = used_once(away, "one")
    assert again == used_once(users(tmp_path, "away"), "one")
    assert used_once(users(tmp_path, "third"), "one") != again


def test_an_id_is_written_once_however_the_table_changes_meanwhile(tmp_path: Path) -> None:
    one, table = users(tmp_path), tmp_path / "users" / "user-ids.json"
    first = used_once(one, "one")
    used_once(users(tmp_path, "other"), "two")
    before = table.stat().st_ino
    assert used_once(one, "one") == first
    assert table.stat().st_ino == before
