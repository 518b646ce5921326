"""docs/conformance.md: every call and status that is declared, each with a test that exists."""

from __future__ import annotations

import re
from pathlib import Path

from tests.conformance import PAGE, TESTS_OF, Row, openapi, page, read_answers, rows

ROOT = Path(__file__).parents[2]
LINE = re.compile(r"^\| `(\w+) (\S+)` \| (\d+) \| (?:`(\S+)`|none) \|$", re.MULTILINE)


def listed() -> dict[tuple[str, str, int], str]:
    return {(m[1], m[2], int(m[3])): m[4] for m in LINE.finditer(PAGE.read_text())}


def test_every_declared_status_is_listed() -> None:
    declared = {(row.method, row.path, row.status) for row in rows(openapi(), {})}
    assert declared == set(listed()), "make it anew: see tests/conformance.py"


def test_each_status_was_seen_by_a_test_that_exists() -> None:
    for call, test in listed().items():
        assert test, f"no test saw {call}"
        file, _, name = test.partition("::")
        assert f"def {name}(" in (ROOT / file).read_text(), test


def test_a_path_goes_to_the_route_that_says_most_of_it() -> None:
    paths = ["/api/a/{id}", "/api/a/b", "/api/a/{id}/c"]
    lines = ["GET 200 t.py::one 1 '/api/a/b'", "GET 404 t.py::two 0 '/api/a/x'"]
    seen = read_answers(lines, paths)
    assert seen == {
        ("GET", "/api/a/b", 200): "t.py::one",
        ("GET", "/api/a/{id}", 404): "t.py::two",
    }


def test_the_test_that_names_the_status_and_does_little_else_is_taken() -> None:
    lines = [
        "GET 200 t.py::a_by_the_way 0 '/api/a'",
        "GET 200 t.py::b_among_others 1 '/api/a'",
        "POST 201 t.py::b_among_others 1 '/api/a'",
        "GET 200 t.py::c_alone 1 '/api/a'",
    ]
    assert read_answers(lines, ["/api/a"])["GET", "/api/a", 200] == "t.py::c_alone"


def test_there_are_tests_of_each_document() -> None:
    files = [str(file.relative_to(ROOT)) for file in (ROOT / "tests/contract").rglob("test_*.py")]
    for own in TESTS_OF.values():
        assert any(own in file for file in files), own


def test_a_status_that_nobody_saw_says_so() -> None:
    row = Row(document="Build API", method="GET", path="/api/builds/{id}", status=200, test=None)
    assert "| `GET /api/builds/{id}` | 200 | none |" in page([row])
