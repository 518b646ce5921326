"""The page of what real CI files use: each row names files that there are, and that show it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipelines_schema import parse_workflow

PAGE = Path(__file__).parents[2] / "docs" / "constructs.md"
LINK = re.compile(r"\]\(([^)]+)\)")
NOT_HERE = ("not: ", "not yet: ")


def rows() -> list[list[str]]:
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line[:2] == "| "]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[1:]]


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_each_construct_names_files_that_there_are(row: list[str]) -> None:
    _, uses, here, shown_by = row
    files = [PAGE.parent / to for to in LINK.findall(shown_by)]
    assert int(uses) >= 1
    assert [file for file in files if not file.is_file()] == []
    assert files or here.startswith(NOT_HERE)


@pytest.mark.parametrize(
    "file",
    sorted({to for row in rows() for to in LINK.findall(row[3]) if to.endswith(".yml")}),
)
def test_each_workflow_that_is_named_is_one(file: str) -> None:
    text = (PAGE.parent / file).read_bytes()
    assert parse_workflow(text, file).problems == ()


def test_nothing_is_still_to_come() -> None:
    assert [row for row in rows() if "**L2**" in row[2]] == []
