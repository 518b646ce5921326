"""Tests that share something are not split among workers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.workers import SPLIT, TOGETHER, group_of, rank

ROOT = Path(__file__).parents[2]
FILES = [str(file.relative_to(ROOT)) for file in sorted((ROOT / "tests").rglob("test_*.py"))]


def test_a_file_with_fixtures_of_its_own_for_all_its_tests_is_one_group() -> None:
    shared = re.compile(r'scope="(module|package)"')
    split = [file for file in FILES if group_of(f"{file}::test_x") != group_of(f"{file}::test_y")]
    assert split
    assert [file for file in split if shared.search((ROOT / file).read_text())] == []


def test_only_files_that_would_be_split_have_to_be_named() -> None:
    assert set(TOGETHER) <= set(FILES)
    assert all(file.startswith(SPLIT) for file in TOGETHER)


@pytest.mark.parametrize("parameter", ["a::b", "@", "[x]", "tests/e2e/"])
def test_whatever_its_parameters_a_test_is_in_the_group_of_its_file(parameter: str) -> None:
    assert group_of(f"tests/unit/test_workers.py::test_x[{parameter}]") == group_of(
        "tests/unit/test_workers.py::test_y"
    )


def test_what_takes_longest_begins_first() -> None:
    order = sorted(FILES, key=rank)
    assert order[0] == "tests/contract/test_fuzzed_interfaces.py"
    assert order[1].startswith("tests/e2e/")
    assert order[-1].startswith("tests/unit/")
