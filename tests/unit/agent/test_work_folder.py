"""Whose work folder is whose, and when it is nobody's any more."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agent.engines.work_folder import OWNER_FILE, WorkFolder, removed_if_abandoned


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    made = tmp_path / "data"
    made.mkdir()
    return made


@pytest.fixture
def folder(tmp_path: Path, data_dir: Path) -> Iterator[WorkFolder]:
    made = WorkFolder(tmp_path / "work", data_dir=data_dir, others_pass=True)
    made.make()
    yield made
    made.close()


def killed(folder: WorkFolder) -> None:
    """Its agent ends and removes nothing."""
    (folder.caches / "kept").mkdir(exist_ok=True)
    folder.close()
    folder.attempts.mkdir(exist_ok=True)


def test_a_folder_is_its_agents_as_long_as_that_has_a_data_folder(folder: WorkFolder) -> None:
    killed(folder)
    assert not removed_if_abandoned(folder.path)
    assert (folder.caches / "kept").exists()


def test_a_folder_goes_with_all_it_has_once_the_data_folder_has(
    folder: WorkFolder, data_dir: Path
) -> None:
    killed(folder)
    data_dir.rmdir()
    assert removed_if_abandoned(folder.path)
    assert not folder.path.exists()


def test_a_folder_is_its_agents_while_that_runs(folder: WorkFolder, data_dir: Path) -> None:
    data_dir.rmdir()
    assert not removed_if_abandoned(folder.path)
    assert folder.attempts.exists()


def test_who_comes_back_has_the_folder_again(folder: WorkFolder, data_dir: Path) -> None:
    killed(folder)
    data_dir.rmdir()
    folder.make()
    assert not removed_if_abandoned(folder.path)


def test_a_folder_that_somebody_cleared_away_is_made_and_had_again(
    folder: WorkFolder, data_dir: Path
) -> None:
    for path in (folder.attempts, folder.caches):
        path.rmdir()
    (folder.path / OWNER_FILE).unlink()
    folder.path.rmdir()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: folder.make(), range(8)))
    data_dir.rmdir()
    assert not removed_if_abandoned(folder.path)


@pytest.mark.parametrize("named", [None, ""])
def test_a_folder_that_says_not_whose_it_is_stays(
    folder: WorkFolder, data_dir: Path, named: str | None
) -> None:
    killed(folder)
    data_dir.rmdir()
    if named is None:
        (folder.path / OWNER_FILE).unlink()
    else:
        (folder.path / OWNER_FILE).write_text(named)
    assert not removed_if_abandoned(folder.path)


def test_an_empty_folder_is_not_left(folder: WorkFolder) -> None:
    folder.close()
    assert not folder.path.exists()


def test_nobody_else_reads_where_the_agent_keeps_its_data(folder: WorkFolder) -> None:
    assert os.stat(folder.path / OWNER_FILE).st_mode & 0o777 == 0o600
