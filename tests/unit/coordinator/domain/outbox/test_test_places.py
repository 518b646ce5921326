from __future__ import annotations

import pytest

from coordinator.domain.outbox.test_places import problems_of_tests
from coordinator.domain.results.values import Result, TestResult


def failed(file: str | None, line: int | None = None, message: str | None = None) -> TestResult:
    return TestResult(
        suite="s",
        name="test_x",
        result=Result.FAILED,
        milliseconds=1,
        message=message,
        file=file,
        line=line,
    )


@pytest.mark.parametrize(
    ("file", "shown"),
    [
        ("tests/a.py", "tests/a.py"),
        ("./tests/a.py", "tests/a.py"),
        ("/workspace/tests/a.py", "tests/a.py"),
        ("/usr/lib/a.py", None),
        ("../a.py", None),
        ("a/../../b.py", None),
        ("C:\\a.py", None),
        ("", None),
        (None, None),
    ],
)
def test_only_the_repositorys_files_are_places(file: str | None, shown: str | None) -> None:
    found = problems_of_tests([("unit", failed(file))], None)
    assert [one["file"] for one in found] == ([shown] if shown else [])


def test_a_place_says_which_test_failed_where_and_why() -> None:
    tests = [("unit", failed("a.py", 7, "no")), ("other", failed("b.py"))]
    assert problems_of_tests(tests, None) == [
        {"file": "a.py", "line": 7, "message": "test_x failed in unit: no"},
        {"file": "b.py", "line": 1, "message": "test_x failed in other"},
    ]
    assert [one["file"] for one in problems_of_tests(tests, "other")] == ["b.py"]
