"""docs/findings.md: each finding is held by tests that exist, or says that it is open."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "findings.md"
TEST = re.compile(r"`(tests/[\w./-]+\.py)::(\w+)`")
OPEN = "**open**: "


def rows() -> list[tuple[str, str, str]]:
    found = []
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("| ") and not line.startswith("| finding "):
            finding, now, held_by = (cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1])
            found.append((finding, now, held_by))
    return found


@pytest.mark.parametrize(("finding", "now", "held_by"), rows(), ids=lambda cell: cell[:30])
def test_a_finding_is_held_by_tests_that_exist(finding: str, now: str, held_by: str) -> None:
    tests = TEST.findall(held_by)
    assert TEST.sub("", held_by).strip(", ") == "", "write `tests/…/test_x.py::test_y`, …"
    assert tests or now.startswith(OPEN), f"{finding}: no test, and it doesn't begin with {OPEN}"
    for file, name in tests:
        assert re.search(rf"^ *(?:async )?def {name}\(", (ROOT / file).read_text(), re.MULTILINE), (
            f"{file} has no {name}"
        )


def test_there_are_findings_of_each_trial() -> None:
    sections = re.findall(r"^## (.+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert {"Interfaces", "Use"} <= set(sections)
    assert len(rows()) >= 60
